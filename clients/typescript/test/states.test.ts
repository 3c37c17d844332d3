/** States as JSON, and the memory of versions. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Floors } from "../src/floors.js";
import { decodeJson, encodeJson } from "../src/json.js";
import { durationOf } from "../src/values.js";

const utf8 = new TextEncoder();

test("JSON goes there and back", () => {
  for (const value of [null, true, 0, -1.5e300, "ü\ud83d\ude00", [], {}, { a: [{ b: null }] }, 2 ** 53 - 1]) {
    assert.deepEqual(decodeJson(utf8.encode(encodeJson(value))), value);
  }
});

test("what JSON can't say is refused, not changed", () => {
  const circle: { self?: unknown } = {};
  circle.self = circle;
  for (const value of [undefined, NaN, { a: [Infinity] }, 1n, circle, () => 1]) {
    assert.throws(() => encodeJson(value), { reason: "NOT_JSON" });
  }
});

test("what is no JSON, or more than JavaScript can hold, is refused", () => {
  for (const text of ["", "{", "nul"]) assert.throws(() => decodeJson(utf8.encode(text)), { reason: "NOT_JSON" });
  assert.throws(() => decodeJson(Uint8Array.of(0x22, 0xff, 0x22)), { reason: "NOT_JSON" });
  for (const text of ["9007199254740993", '{"a":[-12345678901234567890]}', "[1,9007199254740992]"]) {
    assert.throws(() => decodeJson(utf8.encode(text)), { reason: "NUMBER_UNSAFE" }, text);
  }
  for (const text of [
    "9007199254740991",
    '"9007199254740993"',
    "0.12345678901234567",
    "12345678901234567890.5e1",
    '"\\"9007199254740993"',
  ]) {
    assert.deepEqual(decodeJson(utf8.encode(text)), JSON.parse(text), text);
  }
});

test("the newest version of so many keys is remembered, of those seen last", () => {
  const floors = new Floors(2);
  floors.observe("n", "a", 5n);
  floors.observe("n", "b", 1n);
  floors.observe("n", "a", 3n);
  floors.observe("n", "c", 2n);
  floors.observe("n", "d", 0n);

  assert.deepEqual(
    ["a", "b", "c", "d"].map((key) => floors.get("n", key)),
    [5n, 0n, 2n, 0n],
  );
  floors.forget("n", "a");
  assert.equal(floors.get("n", "a"), 0n);
});

test("milliseconds become durations, to the nanosecond", () => {
  assert.deepEqual(
    [durationOf(1500.25)].map(({ seconds, nanos }) => [seconds, nanos]),
    [[1n, 500_250_000]],
  );
  assert.throws(() => durationOf(NaN), { reason: "TTL_OUT_OF_RANGE" });
});
