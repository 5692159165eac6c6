// What the JavaScript clients share: the address under test, the compiled contracts, and steps that name themselves.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

export const url = process.argv[2];
if (!url) throw new Error("usage: node CLIENT.mjs URL (with COCO_E2E_CONTRACTS naming the compiled contracts)");

export const contracts = JSON.parse(readFileSync(process.env.COCO_E2E_CONTRACTS, "utf8"));
export const mnemonic = "test test test test test test test test test test test junk";
export const chainId = 31337;

let nextId = 1;

/** Posts any body and returns the parsed answer. */
export async function post(body) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const reply = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: text });
  return reply.json();
}

/** One call; returns the whole answer. */
export async function raw(method, ...params) {
  const id = nextId++;
  const answer = await post({ jsonrpc: "2.0", id, method, params });
  assert.equal(answer.jsonrpc, "2.0");
  assert.equal(answer.id, id);
  return answer;
}

/** One call that must succeed; returns its result. */
export async function call(method, ...params) {
  const answer = await raw(method, ...params);
  assert.equal(answer.error, undefined, `${method}: ${JSON.stringify(answer.error)}`);
  return answer.result;
}

/** One call that must fail; returns its error. */
export async function failure(method, ...params) {
  const answer = await raw(method, ...params);
  assert.ok(answer.error, `${method} should have failed: ${JSON.stringify(answer)}`);
  assert.equal(answer.result, undefined);
  assert.equal(typeof answer.error.code, "number");
  assert.equal(typeof answer.error.message, "string");
  return answer.error;
}

/** True when the peer that the suite checks itself against is under test: it departs from geth here and there. */
export const againstAnvil = (await call("web3_clientVersion")).startsWith("anvil");

/** Runs one named step; the first failure ends the program. */
export async function step(name, body) {
  const start = performance.now();
  try {
    await body();
  } catch (error) {
    console.log(`FAILED ${name}`);
    console.log(error);
    process.exit(1);
  }
  console.log(`ok ${name} (${Math.round(performance.now() - start)} ms)`);
}
