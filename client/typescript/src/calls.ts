// One call: when to send, when to wait, when to give up. A prediction changes nothing, so it may be sent again: after a
// refusal that says when to come back, and after a connection that could not be made or broke. Other answers are final.

import { Problem, Unreachable } from "./errors.js";

const BUSY = [429, 503];
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 5000;

export interface Limits {
  timeoutMs: number;
  retries: number;
}

/** What every request of a call has: the time that is left, in a header for the server and as a signal here. */
export interface Attempt {
  headers: Record<string, string>;
  signal: AbortSignal;
}

/** As openapi-fetch gives it: `data` of a success, `error` of anything else, either maybe text. */
interface Reply {
  data?: unknown;
  error?: unknown;
  response: Response;
}

/** The answer; fails with Problem or Unreachable, or with the reason of the caller's `signal`. */
export async function call(
  send: (attempt: Attempt) => Promise<Reply>,
  { timeoutMs, retries }: Limits,
  signal?: AbortSignal,
): Promise<unknown> {
  const end = performance.now() + timeoutMs;
  for (let attempt = 0; ; attempt += 1) {
    let failure: Problem | Unreachable;
    let waitMs: number | null;
    try {
      const { data, error, response } = await once(send, Math.max(1, end - performance.now()), signal);
      if (response.ok) return data;
      failure = new Problem(response.status, isObject(error) ? error : {});
      waitMs = askedToWait(response, error);
    } catch (error) {
      signal?.throwIfAborted();
      failure = new Unreachable(reason(error), { cause: error });
      waitMs = error instanceof SyntaxError ? null : Math.min(FIRST_WAIT_MS * 2 ** attempt, LONGEST_WAIT_MS);
    }
    if (waitMs === null || attempt >= retries || performance.now() + waitMs >= end) throw failure;
    await pause(waitMs, signal);
  }
}

async function once(send: (attempt: Attempt) => Promise<Reply>, leftMs: number, signal?: AbortSignal): Promise<Reply> {
  signal?.throwIfAborted();
  const ending = new AbortController(); // AbortSignal.any is too new for Node 18
  const end = () => ending.abort(signal?.reason);
  const timer = setTimeout(() => ending.abort(new Error("no answer in time")), leftMs);
  signal?.addEventListener("abort", end);
  try {
    return await send({ headers: { "X-Request-Timeout-Ms": String(Math.ceil(leftMs)) }, signal: ending.signal });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", end);
  }
}

/** Milliseconds after which the request may come again; null if it may not. */
function askedToWait(response: Response, problem: unknown): number | null {
  if (!BUSY.includes(response.status)) return null;
  const exact = isObject(problem) ? problem["retry_after_ms"] : undefined;
  if (typeof exact === "number") return exact; // a page of another origin does not see the header
  const seconds = Number.parseFloat(response.headers.get("Retry-After") ?? ""); // a date: our servers send none
  return Number.isFinite(seconds) ? Math.max(0, seconds * 1000) : null;
}

function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", end);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", end, { once: true });
    if (signal?.aborted) end();
  });
}

/** Why there is no answer; Node's "fetch failed" says it in its cause. */
function reason(error: unknown): string {
  if (error instanceof SyntaxError) return "the answer is no JSON; is it emo-serve?";
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
