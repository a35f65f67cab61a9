import type { ProblemDocument } from "./types.js";

/** Base of all errors of this package. */
export class EmoError extends Error {
  override name = "EmoError";
}

/** No answer: the server cannot be reached, the connection broke, or the time was up. */
export class Unreachable extends EmoError {
  override name = "Unreachable";
}

/** The server's problem document; the message says what is wrong and what is allowed. */
export class Problem extends EmoError {
  override name = "Problem";
  readonly status: number;
  /** The document, of which a proxy that answered instead of the server may have sent nothing. */
  readonly document: Partial<ProblemDocument>;

  constructor(status: number, document: Partial<ProblemDocument>) {
    super(document.detail || document.title || `HTTP ${status}`);
    this.status = status;
    this.document = document;
  }

  /** The kind of problem, as in `image-undecodable`: the last part of `document.type`. */
  get kind(): string {
    return this.document.type?.split(":").at(-1) ?? "";
  }
}
