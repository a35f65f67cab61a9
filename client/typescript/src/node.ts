// The same for Node, where an image may also be the path of a file.

import { readFile } from "node:fs/promises";

import { EmoClient as Client, type EmoClientOptions } from "./client.js";

export * from "./index.js";

export class EmoClient extends Client {
  constructor(url?: string, options: EmoClientOptions = {}) {
    super(url, { readFile, ...options });
  }
}
