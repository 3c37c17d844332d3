/** What goes over the wire when calls fail, and what the caller gets. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { status as Code } from "@grpc/grpc-js";

import {
  CapabilityMissing,
  Consistency,
  DataLoss,
  DeadlineExceeded,
  FailedPrecondition,
  InternalError,
  InvalidRequest,
  LimitExceeded,
  NotFound,
  PermissionDenied,
  Unauthenticated,
  StateClient,
  StateSidecarError,
  tokenFile,
  Unavailable,
  VersionConflict,
  WatchExpired,
  WriteOutcomeUnknown,
} from "../src/index.js";
import { attemptTimeoutMs, backoffMs, DEFAULT_RETRY, outcomeUnknown, RetryBudget } from "../src/retry.js";
import { clientOf, scripted, type Said } from "./support.js";

const bytes = new TextEncoder().encode("v");
const once = { retry: { attemptsMax: 1 } };

async function thrown(call: Promise<unknown>): Promise<StateSidecarError> {
  const error = await call.then(
    () => assert.fail("nothing was thrown"),
    (caught: unknown) => caught,
  );
  assert.ok(error instanceof StateSidecarError, String(error));
  return error;
}

test("a write is repeated under the same request id", async (t) => {
  const server = await scripted(
    t,
    { code: Code.UNAVAILABLE, reason: "DRAINING", retryAfterMs: 1 },
    { code: Code.UNAVAILABLE },
    { code: Code.UNKNOWN, reason: "WRITE_OUTCOME_UNKNOWN" },
    { code: Code.RESOURCE_EXHAUSTED, reason: "QUEUE_FULL" },
    { reply: { version: 7n } },
  );

  const written = await clientOf(t, { target: server.target }).set("session", "alice", bytes);

  assert.equal(written.version, 7n);
  const ids = server.received.map(({ request }) => request["requestId"] as string);
  assert.equal(ids.length, 5);
  assert.equal(new Set(ids).size, 1);
  assert.match(ids[0]!, /^[0-9a-f]{32}$/);
});

test("two writes have two request ids, and a given one is kept", async (t) => {
  const server = await scripted(t, { reply: {} }, { reply: {} }, { reply: {} });
  const client = clientOf(t, { target: server.target });

  await client.set("session", "alice", bytes);
  await client.set("session", "alice", bytes);
  await client.set("session", "alice", bytes, { requestId: "mine" });

  const [first, second, third] = server.received.map(({ request }) => request["requestId"]);
  assert.notEqual(first, second);
  assert.equal(third, "mine");
});

test("a reply that does not come is asked for again within the time, on another connection", async (t) => {
  const server = await scripted(t, "silence", { reply: { version: 7n } });

  const written = await clientOf(t, { target: server.target, timeoutMs: 3000 }).set("session", "alice", bytes);

  assert.equal(written.version, 7n);
  assert.equal(server.received[0]!.request["requestId"], server.received[1]!.request["requestId"]);
});

test("a write whose replies are all lost has an unknown outcome, with the id to learn it", async (t) => {
  const server = await scripted(t, ...Array.from({ length: 8 }, () => "silence" as const));

  const error = await thrown(clientOf(t, { target: server.target, timeoutMs: 1500 }).set("session", "alice", bytes));

  assert.ok(error instanceof WriteOutcomeUnknown);
  assert.equal(error.requestId, server.received[0]!.request["requestId"]);
});

test("an outcome stays unknown when the daemon is away then, and is known by a definite answer", async (t) => {
  const away: Said = { code: Code.UNAVAILABLE, reason: "PASSTHROUGH" };
  const definite: Said = { code: Code.ABORTED, reason: "VERSION_MISMATCH" };
  const server = await scripted(t, { code: Code.UNAVAILABLE }, away, { code: Code.UNAVAILABLE }, definite);
  const client = clientOf(t, { target: server.target });

  assert.ok((await thrown(client.set("session", "alice", bytes))) instanceof WriteOutcomeUnknown);
  assert.ok((await thrown(client.set("session", "alice", bytes))) instanceof VersionConflict);
});

test("who never had a connection has written nothing", async (t) => {
  const client = clientOf(t, { target: "127.0.0.1:1", timeoutMs: 60_000, retry: { attemptsMax: 3 } });

  const error = await thrown(client.set("session", "alice", bytes));

  assert.ok(error instanceof Unavailable, String(error));
});

test("what can't do better is not repeated", async (t) => {
  const refusals: [Said, new (reason: string, text: string) => StateSidecarError][] = [
    [{ code: Code.INVALID_ARGUMENT, reason: "KEY_INVALID" }, InvalidRequest],
    [{ code: Code.ABORTED, reason: "VERSION_MISMATCH" }, VersionConflict],
    [{ code: Code.FAILED_PRECONDITION, reason: "SCHEMA_TOO_NEW" }, FailedPrecondition],
    [{ code: Code.OUT_OF_RANGE, reason: "OUT_OF_RANGE" }, WatchExpired],
    [{ code: Code.NOT_FOUND, reason: "CHECKPOINT_NOT_FOUND" }, NotFound],
    [{ code: Code.UNAVAILABLE, reason: "PASSTHROUGH", retryAfterMs: 1 }, Unavailable],
    [{ code: Code.UNAVAILABLE, reason: "AUTHORITY_UNAVAILABLE" }, Unavailable],
    [{ code: Code.RESOURCE_EXHAUSTED, reason: "QUOTA_EXCEEDED", retryAfterMs: 1 }, LimitExceeded],
    [{ code: Code.UNIMPLEMENTED, reason: "CAPABILITY_MISSING" }, CapabilityMissing],
    [{ code: Code.DATA_LOSS, reason: "ENTRY_CORRUPT" }, DataLoss],
    [{ code: Code.UNAUTHENTICATED, reason: "TOKEN_MISSING" }, Unauthenticated],
    [{ code: Code.PERMISSION_DENIED, reason: "NAMESPACE_DENIED" }, PermissionDenied],
    [{ code: Code.INTERNAL, reason: "INTERNAL" }, InternalError],
  ];
  const server = await scripted(t, ...refusals.map(([said]) => said));
  const client = clientOf(t, { target: server.target });

  for (const [said, kind] of refusals) {
    const error = await thrown(client.set("session", "alice", bytes));
    assert.ok(error instanceof kind, `${said.reason}: ${error.name}`);
    assert.equal(error.reason, said.reason);
    assert.equal(error.code, said.code);
    assert.equal(error.name, kind.name);
  }
  assert.equal(server.received.length, refusals.length);
});

test("the authority's absence is waited out for as long as the daemon says", async (t) => {
  const server = await scripted(
    t,
    { code: Code.UNAVAILABLE, reason: "AUTHORITY_UNAVAILABLE", retryAfterMs: 120 },
    { reply: {} },
  );
  const begin = performance.now();

  await clientOf(t, { target: server.target }).get("session", "alice");

  assert.ok(performance.now() - begin >= 120);
});

test("an error carries what the daemon told", async (t) => {
  const violation = { field: "key", description: "is too long" };
  const server = await scripted(
    t,
    { code: Code.ABORTED, reason: "VERSION_MISMATCH", conflict: { key: "a", expectedVersion: 3n, currentVersion: 5n } },
    { code: Code.INVALID_ARGUMENT, reason: "KEY_INVALID", violation, metadata: { operation: "2" } },
    { code: Code.RESOURCE_EXHAUSTED, reason: "QUOTA_EXCEEDED", retryAfterMs: 250 },
    { code: Code.ABORTED, reason: "ELSE", domain: "another.example" },
  );
  const client = clientOf(t, { target: server.target });
  const next = () => thrown(client.set("session", "alice", bytes));

  const conflict = await next();
  assert.ok(conflict instanceof VersionConflict);
  assert.deepEqual([conflict.key, conflict.expectedVersion, conflict.currentVersion], ["a", 3n, 5n]);
  const invalid = await next();
  assert.equal(invalid.message, "KEY_INVALID: said no; key: is too long");
  assert.deepEqual({ ...invalid.metadata }, { operation: "2" });
  const limited = await next();
  assert.ok(limited instanceof LimitExceeded);
  assert.equal(limited.retryAfterMs, 250);
  assert.equal((await next()).reason, "", "another domain's reason is not the daemon's");
});

test("a deletion of a checkpoint that is repeated finds it gone, and is no error", async (t) => {
  const gone: Said = { code: Code.NOT_FOUND, reason: "CHECKPOINT_NOT_FOUND" };
  const server = await scripted(t, { code: Code.UNAVAILABLE }, gone, gone);
  const client = clientOf(t, { target: server.target });

  await client.state.deleteCheckpoint({ namespace: "process", checkpointId: "c" });

  const error = await thrown(client.state.deleteCheckpoint({ namespace: "process", checkpointId: "c" }));
  assert.ok(error instanceof NotFound);
});

test("reads ask for the newest version that was seen, and forget it in a new epoch", async (t) => {
  const entry = { namespace: "session", key: "alice", version: 9n };
  const server = await scripted(
    t,
    { reply: { version: 7n } },
    { reply: { entry } },
    { reply: {} },
    { code: Code.ABORTED, reason: "VERSION_MISMATCH", conflict: { key: "alice", currentVersion: 12n } },
    { code: Code.FAILED_PRECONDITION, reason: "EPOCH_CHANGED" },
    { reply: {} },
    { reply: {} },
  );
  const client = clientOf(t, { target: server.target });

  await client.set("session", "alice", bytes);
  await client.get("session", "alice");
  await client.get("session", "alice", { consistency: Consistency.STRONG });
  await thrown(client.cas("session", "alice", bytes, { expectedVersion: 1n }));
  await client.get("session", "alice");
  await client.get("session", "alice", { minVersion: 3n });

  const floors = server.received.filter(({ rpc }) => rpc === "Get").map(({ request }) => request["minVersion"]);
  assert.deepEqual(floors, [7n, 0n, 12n, 0n, 3n]);
});

test("versions are learnt of every kind of write, and asked for in batches", async (t) => {
  const results = [{ result: { case: "set", value: { version: 4n } } }];
  const entries = [{ namespace: "session", key: "c", version: 6n }];
  const server = await scripted(
    t,
    { reply: { results } },
    { reply: { version: 5n } },
    { reply: { entries } },
    { reply: {} },
  );
  const { state } = clientOf(t, { target: server.target });
  const set = { case: "set", value: { key: "a", value: bytes } } as const;

  await state.transact({ namespace: "session", operations: [{ operation: set }] });
  await state.delete({ namespace: "session", key: "b" });
  await state.restore({ namespace: "session", key: "c" });
  await state.batchGet({ namespace: "session", keys: ["a", "b", "c", "d"] });

  assert.deepEqual(server.received.at(-1)!.request["minVersions"], [4n, 5n, 6n, 0n]);
});

test("a signal ends a call, in flight and while it waits", async (t) => {
  const server = await scripted(t, "silence", { code: Code.UNAVAILABLE, reason: "DRAINING", retryAfterMs: 60_000 });
  const client = clientOf(t, { target: server.target, timeoutMs: 120_000 });

  for (let calls = 1; calls <= 2; calls++) {
    const stopping = new AbortController();
    const call = client.get("session", "alice", { signal: stopping.signal });
    while (server.received.length < calls) await new Promise(setImmediate);
    stopping.abort(new Error("enough"));
    await assert.rejects(call, /enough/);
  }
});

test("a token goes with each call, and may rotate", async (t) => {
  const server = await scripted(t, { code: Code.UNAVAILABLE }, { reply: {} });
  const tokens = ["one", "two\n"];

  await clientOf(t, { target: server.target, token: () => tokens.shift()! }).get("session", "alice");

  assert.deepEqual(
    server.received.map(({ metadata }) => metadata.get("authorization")),
    [["Bearer one"], ["Bearer two"]],
  );
});

test("a token that a file holds is read for each call", async (t) => {
  const server = await scripted(t, { reply: {} }, { reply: {} });
  const folder = await mkdtemp(join(tmpdir(), "token-"));
  t.after(() => rm(folder, { recursive: true }));
  const client = clientOf(t, { target: server.target, token: tokenFile(join(folder, "token")) });

  for (const token of ["one", "two"]) {
    await writeFile(join(folder, "token"), `${token}\n`);
    await client.get("session", "alice");
  }

  assert.deepEqual(
    server.received.map(({ metadata }) => metadata.get("authorization")),
    [["Bearer one"], ["Bearer two"]],
  );
  await rm(join(folder, "token"));
  await assert.rejects(client.get("session", "alice"), { code: "ENOENT" });
});

test("a token is sent in clear within the machine only", () => {
  for (const target of [
    "10.0.0.7:7420",
    "daemon:7420",
    "dns:///daemon:7420",
    "127.0.0.1.example:1",
    "localhost.example",
  ]) {
    assert.throws(() => new StateClient({ target, token: "secret" }), { reason: "TOKEN_IN_PLAIN_TEXT" }, target);
    new StateClient({ target, token: "secret", tls: {} }).close();
  }
  for (const target of [
    "unix:///run/state.sock",
    "unix:relative.sock",
    "localhost:7420",
    "127.0.0.1:7420",
    "[::1]:7420",
  ]) {
    new StateClient({ target, token: "secret" }).close();
  }
});

test("a closed client refuses", async () => {
  const client = new StateClient();
  client.close();

  assert.equal((await thrown(client.get("session", "alice"))).reason, "CLIENT_CLOSED");
});

test("what UTF-8 cannot say is refused: it would be another key", async (t) => {
  const client = clientOf(t, once);

  for (const call of [
    client.get("session", "a\ud800"),
    client.state.batchGet({ namespace: "session", keys: ["a", "\udc00"] }),
    client.set("session", "a", bytes, { labels: { "\ud800": "" } }),
  ]) {
    assert.ok((await thrown(call)) instanceof InvalidRequest);
  }
  assert.throws(() => client.set("session", "a", "\ud800"), InvalidRequest);
});

test("a target is the given one, else the environment's, else the default", (t) => {
  const before = process.env["STATE_SIDECAR_TARGET"];
  t.after(() => (process.env["STATE_SIDECAR_TARGET"] = before));

  process.env["STATE_SIDECAR_TARGET"] = "unix:///a.sock";
  assert.equal(new StateClient({ target: "b:1" }).target, "b:1");
  assert.equal(new StateClient().target, "unix:///a.sock");
  delete process.env["STATE_SIDECAR_TARGET"];
  assert.equal(new StateClient().target, "127.0.0.1:7420");
});

test("pauses grow, with full jitter, up to a bound; a write leaves time for its repetition", () => {
  const policy = { ...DEFAULT_RETRY, backoffInitialMs: 50, backoffMaxMs: 1000 };

  assert.deepEqual(
    [1, 2, 5, 6, 5000].map((attempt) => backoffMs(attempt, policy, () => 1)),
    [50, 100, 800, 1000, 1000],
  );
  assert.equal(
    backoffMs(3, policy, () => 0.5),
    100,
  );
  assert.equal(attemptTimeoutMs(1000, 1, true, policy), 500);
  assert.equal(attemptTimeoutMs(1000, 1, false, policy), 1000);
  assert.equal(attemptTimeoutMs(200, 1, true, policy), 200);
  assert.equal(attemptTimeoutMs(1000, 20, true, policy), 1000);
  assert.throws(() => new StateClient({ retry: { attemptsMax: 0 } }), RangeError);
});

test("a retry is earned by ten calls, and an absent daemon costs none", () => {
  const budget = new RetryBudget({ ...DEFAULT_RETRY, retriesSavedMax: 2 });
  const busy = new Unavailable("DRAINING", "", { code: Code.UNAVAILABLE });
  const absent = new Unavailable("", "No connection established. Last error: x", { code: Code.UNAVAILABLE });

  assert.deepEqual(
    [1, 2, 3].map(() => budget.spend(busy)),
    [true, true, false],
  );
  assert.ok(budget.spend(absent));
  for (let calls = 0; calls < 10; calls++) budget.earn();
  assert.deepEqual(
    [1, 2].map(() => budget.spend(busy)),
    [true, false],
  );
});

test("another epoch's answer says nothing of an earlier attempt", () => {
  const other = new FailedPrecondition("EPOCH_CHANGED", "", { code: Code.FAILED_PRECONDITION });
  const late = new DeadlineExceeded("DEADLINE_EXCEEDED", "");

  assert.ok(outcomeUnknown(other, true));
  assert.ok(!outcomeUnknown(other, false));
  assert.ok(outcomeUnknown(late, true));
  assert.ok(!outcomeUnknown(late, false));
});
