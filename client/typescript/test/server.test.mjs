// Against a real server with toy models, which needs a key and has room for two images: python -m tests.typescript.

import assert from "node:assert/strict";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { EmoClient, Problem, Unreachable } from "emo-client";
import { EmoClient as BrowserClient } from "../dist/index.js";

const { EMO_URL: url, EMO_KEY: apiKey } = process.env;
const client = new EmoClient(url, { apiKey });
const RED = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC", "base64");

async function file(content) {
  const path = join(await mkdtemp(join(tmpdir(), "emo-")), "red.png");
  await writeFile(path, content);
  return path;
}

test("an image is bytes, a Blob, a buffer or, in Node, a path", async () => {
  const bytes = new Uint8Array(RED);
  for (const image of [bytes, new Blob([bytes], { type: "image/png" }), bytes.buffer, await file(RED)]) {
    const { classifications, image: size } = await client.classify(image, { top_k: 1 });
    assert.equal(classifications[0].name, "red");
    assert.equal(classifications.length, 1);
    assert.deepEqual(size, { width: 1, height: 1 });
  }
});

test("outside of Node a path is refused, and all else is answered", async () => {
  const browser = new BrowserClient(url, { apiKey });
  await assert.rejects(browser.classify("red.png"), TypeError);
  assert.equal((await browser.classify(RED)).classifications[0].name, "red");
});

test("the package's entry for browsers and all that it imports is free of Node", async () => {
  for (const name of ["index", "client", "calls", "errors", "types", "schema"]) {
    assert.doesNotMatch(await readFile(new URL(`../dist/${name}.js`, import.meta.url), "utf8"), /node:|process\./);
  }
});

test("a detector and a segmenter are asked with their parameters", async () => {
  const asked = { score_threshold: 0, iou_threshold: 1, classes: ["red", "green"], units: "normalized" };
  const found = await client.detect(RED, asked);
  assert.equal(found.units, "normalized");
  assert.ok(found.detections.every(({ name, box }) => ["red", "green"].includes(name) && box.length === 4));
  const { classes } = await client.segment(RED);
  assert.equal(classes[0].share, 1);
  assert.deepEqual(classes[0].rle.size, [1, 1]);
});

test("models are listed", async () => {
  const models = await client.models();
  assert.deepEqual(models.map(({ task }) => task).sort(), ["classify", "detect", "segment"]);
});

test("what is wrong is said as the server says it", async () => {
  await assert.rejects(client.classify(RED, { top_k: 0 }), (error) => {
    assert.ok(error instanceof Problem);
    assert.deepEqual([error.status, error.kind], [422, "invalid-parameter"]);
    assert.match(error.message, /top_k/);
    assert.equal(error.document.request_id.length, 32);
    return true;
  });
  await assert.rejects(client.classify(Buffer.from("no picture")), { status: 415, kind: "unsupported-media-type" });
  await assert.rejects(client.classify(await file("")), { name: "Problem" });
  await assert.rejects(client.classify("nowhere.png"), { code: "ENOENT" });
  await assert.rejects(new EmoClient(url).models(), { status: 401 });
});

test("of more images than there is room for all are answered, when the server has said", async () => {
  const patient = new EmoClient(url, { apiKey, retries: 50 });
  const answers = await Promise.all(Array.from({ length: 8 }, () => patient.classify(RED)));
  assert.equal(answers.length, 8);
});

test("a server that is not there is unreachable", async () => {
  const nobody = new EmoClient("http://127.0.0.1:9", { retries: 0 });
  await assert.rejects(nobody.models(), (error) => error instanceof Unreachable && /ECONNREFUSED|bad port/.test(error.message));
});
