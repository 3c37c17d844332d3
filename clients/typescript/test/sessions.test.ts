/** What sessions do when their daemon, or its authority, is in trouble. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { status as Code } from "@grpc/grpc-js";

import {
  Durability,
  ServingMode,
  type SessionOptions,
  Unavailable,
  VersionConflict,
  WriteOutcomeUnknown,
} from "../src/index.js";
import { clientOf, scripted, type Said } from "./support.js";

const value = new TextEncoder().encode('{"turns":["one"]}');
const loaded = {
  reply: { entry: { namespace: "session", key: "a", value, version: 3n, schemaVersion: 2 }, mode: ServingMode.NORMAL },
};
const saved = (version: bigint) => ({ reply: { version, durability: Durability.COMMITTED, mode: ServingMode.NORMAL } });
const away: Said = { code: Code.UNAVAILABLE, reason: "PASSTHROUGH" };
const mismatch: Said = { code: Code.ABORTED, reason: "VERSION_MISMATCH", conflict: { key: "a", currentVersion: 9n } };

interface Chat {
  turns: string[];
}

test("a save whose outcome is unknown is repeated under its id before what came after it", async (t) => {
  const cut: Said = { code: Code.UNKNOWN, reason: "WRITE_OUTCOME_UNKNOWN" };
  const server = await scripted(t, loaded, cut, saved(4n), saved(5n));
  const client = clientOf(t, { target: server.target, retry: { attemptsMax: 1 } });
  const session = await client.load<Chat>("session", "a");

  session.state.turns.push("two");
  session.outbox.push({ topic: "turn.two" });
  await assert.rejects(session.save(), WriteOutcomeUnknown);
  session.state.turns.push("three");
  session.outbox.push({ topic: "turn.three" });
  assert.ok(await session.save());

  const [first, again, next] = server.received.slice(1).map(({ request }) => request);
  assert.deepEqual(again, first);
  assert.equal(next!["expectedVersion"], 4n);
  assert.deepEqual(
    (next!["outbox"] as { topic: string }[]).map(({ topic }) => topic),
    ["turn.three"],
  );
  assert.equal(session.version, 5n);
  assert.deepEqual(session.outbox, []);
});

test("a save that the daemon refused is not repeated", async (t) => {
  const server = await scripted(t, loaded, mismatch, mismatch);
  const session = await clientOf(t, { target: server.target }).load<Chat>("session", "a");

  session.state.turns.push("two");
  await assert.rejects(session.save(), VersionConflict);
  await assert.rejects(session.save(), VersionConflict);

  const [first, second] = server.received.slice(1).map(({ request }) => request["requestId"]);
  assert.notEqual(first, second);
});

test("a state is saved in the schema that it was loaded in, or in the one that is known", async (t) => {
  const server = await scripted(t, loaded, saved(4n), loaded, saved(4n));
  const client = clientOf(t, { target: server.target });

  await client.update<Chat>("session", "a", (state) => void state.turns.push("two"));
  await client.update<Chat>("session", "a", (state) => void state.turns.push("two"), { schema: 1, ttlMs: 1500 });

  const [, first, get, second] = server.received.map(({ request }) => request);
  assert.equal(first!["schemaVersion"], 2);
  assert.equal(get!["maxSchemaVersion"], 1);
  assert.equal(second!["schemaVersion"], 1);
  assert.equal((second!["ttl"] as { nanos: number }).nanos, 500_000_000);
});

test("while the authority is away, nothing is loaded: an error, or the default that is not saved", async (t) => {
  const passthrough = { reply: { mode: ServingMode.PASSTHROUGH } };
  const server = await scripted(t, passthrough, passthrough, passthrough, away);
  const client = clientOf(t, { target: server.target });
  const options: SessionOptions<Chat> & { default: Chat } = { default: { turns: ["none"] }, onOutage: "continue" };

  await assert.rejects(client.load("session", "a"), { reason: "PASSTHROUGH", name: "Unavailable" });
  await assert.rejects(
    client.update("session", "a", () => assert.fail("it ran")),
    Unavailable,
  );
  for (let sessions = 0; sessions < 2; sessions++) {
    const session = await client.load<Chat>("session", "a", options);
    assert.equal(session.mode, ServingMode.PASSTHROUGH);
    assert.deepEqual(session.state, { turns: ["none"] });
    session.state.turns.push("more");
    assert.equal(await session.save(), false);
  }
  assert.equal(server.received.length, 4);
  assert.deepEqual(options.default.turns, ["none"], "the default is copied");
});

test("a save that finds the authority away can be tried again", async (t) => {
  const server = await scripted(t, loaded, away, saved(4n), loaded, away, saved(5n));
  const client = clientOf(t, { target: server.target });

  const throwing = await client.load<Chat>("session", "a");
  throwing.state.turns.push("two");
  await assert.rejects(throwing.save(), Unavailable);
  assert.ok(await throwing.save());

  const continuing = await client.load<Chat>("session", "a", { onOutage: "continue" });
  continuing.state.turns.push("two");
  assert.equal(await continuing.save(), false);
  assert.equal(continuing.mode, ServingMode.PASSTHROUGH);
  assert.ok(await continuing.save());
  assert.deepEqual([continuing.version, continuing.mode], [5n, ServingMode.NORMAL]);
});

test("a lost save begins anew on the newest state; one that never wins ends", async (t) => {
  const server = await scripted(t, loaded, mismatch, loaded, saved(4n));
  const client = clientOf(t, { target: server.target });

  const done = await client.update<Chat>("session", "a", (state) => void state.turns.push("two"));
  assert.equal(done.attempts, 2);
  const reads = server.received.filter(({ rpc }) => rpc === "Get").map(({ request }) => request["consistency"]);
  assert.deepEqual(reads, [1, 2], "CACHED, then STRONG");

  server.answers.push(loaded, mismatch, loaded, mismatch);
  const never = client.update<Chat>("session", "a", (state) => void state.turns.push("x"), { attemptsMax: 2 });
  await assert.rejects(never, VersionConflict);
});
