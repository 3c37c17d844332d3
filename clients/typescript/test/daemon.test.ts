/** Against a real daemon, which the program that runs these tests has started. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import {
  Consistency,
  Durability,
  FailedPrecondition,
  InvalidRequest,
  ServingMode,
  StateClient,
  VersionConflict,
} from "../src/index.js";
import { clientOf, daemonTarget, Proxy } from "./support.js";

const text = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes);
const someKey = () => `ts/${randomUUID()}`;
const count = { case: "increment", value: { delta: 1n } } as const;

interface Chat {
  turns: string[];
}

test("keys are written, read, listed and deleted", async (t) => {
  const client = clientOf(t);
  const prefix = someKey();
  const keys = ["a", "b", "ü \u0000\ud83d\ude00"].map((name) => `${prefix}/${name}`);

  for (const key of keys) await client.set("default", key, key, { contentType: "text/plain", labels: { of: "ts" } });

  const found = await client.get("default", keys[2]!);
  assert.equal(text(found.entry?.value), keys[2]);
  assert.equal(found.entry?.contentType, "text/plain");
  assert.deepEqual({ ...found.entry?.labels }, { of: "ts" });
  const listed = [];
  for await (const entry of client.list("default", `${prefix}/`, { pageSize: 2 })) listed.push(entry.key);
  assert.deepEqual(listed, keys);
  assert.ok((await client.delete("default", keys[0]!)).found);
  assert.equal((await client.get("default", keys[0]!)).entry, undefined);
  assert.ok(!(await client.delete("default", keys[0]!)).found);
});

test("who lost a compare-and-set learns the version", async (t) => {
  const client = clientOf(t);
  const key = someKey();
  const { version } = await client.cas("default", key, "1", { expectedVersion: 0n });

  await assert.rejects(client.cas("default", key, "2", { expectedVersion: 0n }), (error) => {
    assert.ok(error instanceof VersionConflict);
    assert.deepEqual([error.reason, error.key, error.currentVersion], ["VERSION_MISMATCH", key, version]);
    return true;
  });
  await assert.rejects(client.delete("default", key, { expectedVersion: version + 1n }), VersionConflict);
  await client.cas("default", key, "2", { expectedVersion: version });
});

test("a ttl ends an entry, and a wrong one is refused", async (t) => {
  const client = clientOf(t);
  const key = someKey();

  const written = await client.set("default", key, "", { ttlMs: 60_000 });
  assert.ok(written.expireTime);
  await assert.rejects(client.set("default", key, "", { ttlMs: 0 }), { reason: "TTL_OUT_OF_RANGE" });
  await assert.rejects(client.get("default", ""), InvalidRequest);
});

test("a write that is repeated by hand with its request id does nothing twice", async (t) => {
  const client = clientOf(t);
  const request = { namespace: "default", key: someKey(), operation: count, create: true, requestId: randomUUID() };

  const first = await client.state.update({ ...request, returnValue: true });
  const again = await client.state.update({ ...request, returnValue: true });

  assert.equal(again.version, first.version);
  assert.equal(text(again.value), "1");
});

test("a session is loaded, changed and saved", async (t) => {
  const client = clientOf(t);
  const key = someKey();

  const session = await client.load<Chat>("session", key, { default: { turns: [] } });
  assert.equal(session.version, 0n);
  assert.equal(await session.save(), false, "nothing has changed");
  session.state.turns.push("hello");
  assert.equal(await session.save(), true);
  session.state.turns.push("bye");
  assert.equal(await session.save(), true);
  assert.equal(session.durability, Durability.COMMITTED);
  assert.equal(session.mode, ServingMode.NORMAL);

  const again = await client.load<Chat>("session", key);
  assert.deepEqual(again.state, { turns: ["hello", "bye"] });
  assert.equal(again.version, session.version);
  assert.equal((await client.get("session", key)).entry?.contentType, "application/json");
});

test("a session that lost says so, or merges as it is told", async (t) => {
  const client = clientOf(t);
  const key = someKey();
  const load = () => client.load<Chat>("session", key, { default: { turns: [] } });
  const merging = await client.load<Chat>("session", key, {
    default: { turns: [] },
    onConflict: (base, mine, theirs) => ({
      turns: [...(theirs ?? base).turns, ...mine.turns.slice(base.turns.length)],
    }),
  });
  const [slow, fast] = [await load(), await load()];

  for (const [session, turn] of [
    [fast, "fast"],
    [slow, "slow"],
    [merging, "merged"],
  ] as const)
    session.state.turns.push(turn);

  assert.ok(await fast.save());
  await assert.rejects(slow.save(), VersionConflict);
  assert.ok(await merging.save());
  assert.deepEqual((await load()).state.turns, ["fast", "merged"]);
  assert.deepEqual(merging.state.turns, ["fast", "merged"]);
});

test("messages go with a save, whose state need not change", async (t) => {
  const client = clientOf(t);
  const session = await client.load<Chat>("default", someKey());

  session.outbox.push({ topic: "ts", payload: new Uint8Array([1]) });
  assert.ok(await session.save());
  assert.ok(session.version > 0n);
  assert.equal(session.outbox.length, 0);
  session.outbox.push({ topic: "" });
  await assert.rejects(session.save(), { reason: "OUTBOX_MESSAGE_INVALID" });
});

test("updates of many writers are all there", async (t) => {
  const key = someKey();
  const clients = Array.from({ length: 4 }, () => clientOf(t));
  const add = (client: StateClient) =>
    client.update<{ n: number }>("process", key, (state) => void state.n++, { default: { n: 0 } });

  const updates = await Promise.all(clients.flatMap((client) => Array.from({ length: 10 }, () => add(client))));

  const [client] = clients as [StateClient];
  const last = await client.load<{ n: number }>("process", key, { consistency: Consistency.STRONG });
  assert.equal(last.state.n, 40);
  assert.ok(
    updates.some(({ attempts }) => attempts > 1),
    "they were in each other's way",
  );
  const same = await client.update("process", key, (state) => state);
  assert.deepEqual([same.version, same.durability, same.attempts], [last.version, Durability.UNSPECIFIED, 2]);
});

test("a stored value that JavaScript would change is not touched", async (t) => {
  const client = clientOf(t);
  const key = someKey();
  await client.set("default", key, '{"id":9007199254740993}');

  await assert.rejects(
    client.update("default", key, (state) => void (state["seen"] = true)),
    FailedPrecondition,
  );
  await client.set("default", key, "no JSON");
  await assert.rejects(client.load("default", key), { reason: "NOT_JSON" });
});

test("a client reads its own writes, and other services answer", async (t) => {
  const client = clientOf(t);
  const key = someKey();
  await client.set("model", key, "1");
  await client.get("model", key);
  await client.state.transact({
    namespace: "model",
    operations: [{ operation: { case: "set", value: { key, value: new TextEncoder().encode("2") } } }],
  });

  assert.equal(text((await client.get("model", key)).entry?.value), "2");
  assert.equal((await client.admin.getStatus({})).mode, ServingMode.NORMAL);
  assert.deepEqual((await client.outbox.listDeadLetters({ namespace: "model" })).deadLetters, []);
});

test("a checkpoint is restored", async (t) => {
  const client = clientOf(t);
  const key = someKey();
  await client.update<{ step: number }>("process", key, () => ({ step: 1 }));
  const { checkpoint } = await client.state.checkpoint({ namespace: "process", key, label: "one" });
  await client.update<{ step: number }>("process", key, () => ({ step: 2 }));

  await client.state.restore({ namespace: "process", checkpointId: checkpoint!.checkpointId });

  assert.deepEqual((await client.load("process", key)).state, { step: 1 });
  await client.state.deleteCheckpoint({ namespace: "process", checkpointId: checkpoint!.checkpointId });
  await assert.rejects(client.state.getCheckpoint({ namespace: "process", checkpointId: checkpoint!.checkpointId }), {
    name: "NotFound",
  });
});

for (const how of ["cut", "silence"] as const) {
  test(`writes whose answers are lost (${how}) take effect once`, async (t) => {
    const proxy = new Proxy();
    const target = await proxy.start();
    t.after(() => proxy.stop());
    const client = clientOf(t, { target, timeoutMs: how === "cut" ? 30_000 : 3000 });
    const key = someKey();
    await client.get("default", key);

    for (let writes = 0; writes < 3; writes++) {
      proxy.lose(how);
      await client.state.update({ namespace: "default", key, operation: count, create: true });
      assert.equal(proxy.lossesLeft, 0, "the answer was lost");
    }

    assert.equal(text((await clientOf(t, { target: daemonTarget() }).get("default", key)).entry?.value), "3");
  });
}

test("a Unix socket is as good", async (t) => {
  const client = clientOf(t, { target: process.env["STATE_SIDECAR_SOCKET"]! });

  assert.equal((await client.get("default", someKey())).mode, ServingMode.NORMAL);
});
