// The server's interface. Addresses are relative to where this module lies, so the page works below any prefix.

import { readServerTiming } from "./timing.js";

const PATIENCE_MS = 15_000; // for a server that has no room now, or a key that has had its share

export const ROOT = new URL("../", import.meta.url);

/** What the server refused, in its own words (RFC 9457), or what kept it from being asked. */
export class Problem extends Error {
  constructor({ title, detail = "", status = null, ...others }) {
    super(title);
    this.title = title;
    this.detail = detail;
    this.status = status;
    this.requestId = others.request_id ?? null;
    this.retryAfterMs = others.retry_after_ms ?? null;
  }
}

/** The server, asked with the key that was given, if any. */
export class Server {
  key = "";

  /** What is served, a summary for each version of each model; raises Problem. */
  async models() {
    return (await contentOf(await this.#call("models"))).models;
  }

  /** One version in full: its labels and its manifest; raises Problem. */
  async describe({ name, version }) {
    const query = new URLSearchParams({ version });
    return contentOf(await this.#call(`models/${encodeURIComponent(name)}?${query}`));
  }

  /** The model's answer about an image, with the stages of the server and the milliseconds here; raises Problem. */
  async ask(model, path, parameters, image, signal) {
    const query = new URLSearchParams({ model: model.name, version: model.version, ...parameters });
    const headers = { "Content-Type": mediaType(image) };
    const began = performance.now();
    const response = await this.#call(`${path}?${query}`, { method: "POST", body: image, headers, signal });
    const answer = await contentOf(response);
    const roundTrip = performance.now() - began;
    return { answer, stages: readServerTiming(response.headers.get("Server-Timing") ?? ""), roundTrip };
  }

  /** The response; a refusal that says when to come back is asked again then, unless that is too late. */
  async #call(path, options) {
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      const response = await this.#send(path, options);
      if (response.ok) return response;
      const problem = await problemOf(response);
      if (problem.retryAfterMs === null || performance.now() + problem.retryAfterMs > end) throw problem;
      await new Promise((resolve) => setTimeout(resolve, problem.retryAfterMs));
    }
  }

  async #send(path, { headers = {}, ...options } = {}) {
    const keyed = this.key ? { ...headers, Authorization: `Bearer ${this.key}` } : headers;
    try {
      return await fetch(new URL(path, ROOT), { ...options, headers: keyed });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem({ title: "The server cannot be reached", detail: error.message });
    }
  }
}

/** The media type by which an image is sent; its content decides anyway. */
export const mediaType = (image) => (image.type.startsWith("image/") ? image.type : "application/octet-stream");

/** The JSON of an answer; raises Problem for anything else, as a page to log in that a proxy sent instead. */
async function contentOf(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (error.name !== "SyntaxError") throw new Problem({ title: "The answer broke off", detail: error.message });
    throw new Problem({ title: "This is no answer of the server", detail: "Something in front of it answered." });
  }
}

async function problemOf(response) {
  const type = response.headers.get("Content-Type") ?? "";
  if (type.startsWith("application/problem+json")) return new Problem(await contentOf(response));
  const title = `${response.status} ${response.statusText}`.trim();
  return new Problem({ title, status: response.status, detail: "Something in front of the server said so." });
}
