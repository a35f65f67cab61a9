// When a call is sent again, against a server that answers what it is told to.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { EmoClient } from "emo-client";

const IMAGE = new Uint8Array([1]);
const ANSWER = { classifications: [] };
let script = [];
let seen = [];
let url;

const server = createServer((request, response) => {
  const step = script.shift() ?? "hang";
  seen.push({ at: performance.now(), deadline: Number(request.headers["x-request-timeout-ms"]) });
  request.resume().on("end", () => {
    if (step === "hang") return;
    if (step === "reset") request.socket.resetAndDestroy();
    else response.writeHead(step.status ?? 200, step.headers ?? {}).end(step.text ?? JSON.stringify(step.body ?? ANSWER));
  });
});

before(async () => {
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  url = `http://127.0.0.1:${server.address().port}/below/a/path`;
});

after(() => {
  server.closeAllConnections();
  server.close();
});

const busy = (milliseconds) => ({ status: 503, headers: { "Retry-After": "60" }, body: { retry_after_ms: milliseconds } });

function asked(options, ...steps) {
  [script, seen] = [steps, []];
  return new EmoClient(url, options).classify(IMAGE);
}

test("a refused request comes again at the moment that the server names, with the time that is left", async () => {
  assert.deepEqual(await asked({ timeoutMs: 5000 }, busy(300), {}), ANSWER);
  const [first, second] = seen;
  assert.ok(second.at - first.at >= 295);
  assert.equal(first.deadline, 5000);
  assert.ok(second.deadline <= 4705 && second.deadline > 1000);
});

test("without a document Retry-After counts, in seconds", async () => {
  const step = { status: 429, headers: { "Retry-After": "0.2" }, text: "slow down" };
  assert.deepEqual(await asked({}, step, {}), ANSWER);
  assert.ok(seen[1].at - seen[0].at >= 195);
});

test("who would come too late gives up at once", async () => {
  const began = performance.now();
  await assert.rejects(asked({ timeoutMs: 1000 }, busy(5000), {}), { status: 503 });
  assert.ok(performance.now() - began < 900);
  assert.equal(seen.length, 1);
});

test("a connection that breaks is made anew, so many times", async () => {
  assert.deepEqual(await asked({ retries: 1 }, "reset", {}), ANSWER);
  await assert.rejects(asked({ retries: 1 }, "reset", "reset", {}), { name: "Unreachable" });
  assert.equal(seen.length, 2);
});

test("any other answer is final", async () => {
  await assert.rejects(asked({}, { status: 500, body: { detail: "broken" } }, {}), { status: 500, message: "broken" });
  await assert.rejects(asked({}, { status: 503, body: {} }, {}), { status: 503, message: "HTTP 503" });
  await assert.rejects(asked({}, { status: 502, text: "<html>" }, {}), { status: 502 });
  await assert.rejects(asked({}, { text: "<html>" }, {}), { name: "Unreachable", message: /no JSON/ });
  assert.equal(seen.length, 1);
});

test("a server that never answers costs no more than the time that was given", async () => {
  const began = performance.now();
  await assert.rejects(asked({ timeoutMs: 300 }, "hang"), { name: "Unreachable", message: "no answer in time" });
  assert.ok(performance.now() - began < 2000);
});

test("a signal ends a call at once, while it is sent and while it waits", async () => {
  for (const step of ["hang", busy(20_000)]) {
    [script, seen] = [[step], []];
    const ending = new AbortController();
    setTimeout(() => ending.abort(new Error("changed my mind")), 200);
    const began = performance.now();
    await assert.rejects(new EmoClient(url).classify(IMAGE, { signal: ending.signal }), { message: "changed my mind" });
    assert.ok(performance.now() - began < 2000);
  }
  const past = AbortSignal.abort(new Error("too early"));
  await assert.rejects(new EmoClient(url).classify(IMAGE, { signal: past }), { message: "too early" });
});

test("what is no address of a server is refused at once", () => {
  for (const address of ["localhost:8000", "", "ftp://server", "http://"]) {
    assert.throws(() => new EmoClient(address), { name: "TypeError" });
  }
});
