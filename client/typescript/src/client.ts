import createClient, { type Client } from "openapi-fetch";

import { type Attempt, call, type Limits } from "./calls.js";
import type { paths } from "./schema.js";
import type {
  CallOptions,
  Classification,
  ClassifyParameters,
  Detections,
  DetectParameters,
  Model,
  Segmentation,
  SegmentParameters,
} from "./types.js";

/** An encoded image: JPEG, PNG, WebP and what else the server takes; in Node also the path of a file. */
export type Image = Blob | Uint8Array | ArrayBuffer | string;

export interface EmoClientOptions {
  apiKey?: string;
  /** Milliseconds for a call with all its attempts (30000); the server is told and begins nothing that comes too late. */
  timeoutMs?: number;
  /** Attempts after the first (3). */
  retries?: number;
  /** Replaces the network. */
  fetch?: typeof fetch;
  /** Reads the file at a path; in Node there is one. */
  readFile?: (path: string) => Promise<Uint8Array>;
}

/** Asks one server, in any number of calls at a time. They fail with `Problem` or `Unreachable`. */
export class EmoClient {
  readonly #server: Client<paths>;
  readonly #limits: Limits;
  readonly #readFile: EmoClientOptions["readFile"];

  /** `url` may have a path. Throws a TypeError for what is no address. */
  constructor(url = "http://localhost:8000", options: EmoClientOptions = {}) {
    if (!/^https?:\/\/[^/]/.test(url)) throw new TypeError(`${url} is no address of a server, as http://localhost:8000 is`);
    const { apiKey, timeoutMs = 30_000, retries = 3, readFile } = options;
    this.#limits = { timeoutMs, retries };
    this.#readFile = readFile;
    this.#server = createClient<paths>({
      baseUrl: url,
      headers: apiKey ? { Authorization: `Bearer ${apiKey}` } : {},
      ...(options.fetch && { fetch: options.fetch }),
    });
  }

  /** The best classes of an image. */
  async classify(image: Image, { signal, ...query }: ClassifyParameters & CallOptions = {}): Promise<Classification> {
    const body = await this.#encoded(image);
    return this.#call(signal, (attempt) =>
      this.#server.POST("/classify", { params: { query }, ...upload(body, attempt) }),
    );
  }

  /** The objects in an image. */
  async detect(image: Image, { signal, ...query }: DetectParameters & CallOptions = {}): Promise<Detections> {
    const body = await this.#encoded(image);
    return this.#call(signal, (attempt) =>
      this.#server.POST("/detect", { params: { query }, ...upload(body, attempt) }),
    );
  }

  /** The classes that occur in an image, with masks. */
  async segment(image: Image, { signal, ...query }: SegmentParameters & CallOptions = {}): Promise<Segmentation> {
    const body = await this.#encoded(image);
    return this.#call(signal, (attempt) =>
      this.#server.POST("/segment", { params: { query }, ...upload(body, attempt) }),
    );
  }

  /** The models that the server has. */
  async models({ signal }: CallOptions = {}): Promise<Model[]> {
    const { models } = await this.#call<{ models: Model[] }>(signal, (attempt) =>
      this.#server.GET("/models", { ...attempt }),
    );
    return models;
  }

  #call<Answer>(signal: AbortSignal | undefined, send: Parameters<typeof call>[0]): Promise<Answer> {
    return call(send, this.#limits, signal) as Promise<Answer>; // of the forms in the document the one that is asked for
  }

  async #encoded(image: Image): Promise<Blob | Uint8Array | ArrayBuffer> {
    if (typeof image !== "string") return image;
    if (!this.#readFile) throw new TypeError("an image is a Blob, a Uint8Array or an ArrayBuffer; only Node reads paths");
    return this.#readFile(image);
  }
}

/** A request with the image as it is: openapi-fetch would serialize what the document calls a string. */
function upload(body: Blob | Uint8Array | ArrayBuffer, { headers, signal }: Attempt) {
  return {
    body: body as unknown as string,
    bodySerializer: () => body as BodyInit,
    headers: { ...headers, "Content-Type": "application/octet-stream" },
    signal,
  };
}
