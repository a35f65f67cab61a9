export { EmoClient, type EmoClientOptions, type Image } from "./client.js";
export { EmoError, Problem, Unreachable } from "./errors.js";
export type * from "./types.js";
