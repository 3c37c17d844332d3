/**
 * Against a daemon with TLS, for whoever has started it: $STATE_SIDECAR_FILES has authority.pem and, for `certificate`, the
 * client's app.crt and app.key, for `token` $STATE_SIDECAR_TOKEN, to be kept in a file. The identity may read `shop`.
 */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import { tokenFile, Unauthenticated, Unavailable, type ClientOptions } from "../src/index.js";
import { clientOf } from "./support.js";

const folder = process.env["STATE_SIDECAR_FILES"] ?? "";
const token = process.env["STATE_SIDECAR_TOKEN"];
const ca = await readFile(join(folder, "authority.pem"));

async function known(): Promise<ClientOptions> {
  if (token === undefined) {
    const [certificate, key] = await Promise.all(["app.crt", "app.key"].map((name) => readFile(join(folder, name))));
    return { tls: { ca, certificate: certificate!, key: key! } };
  }
  const file = join(folder, "token");
  await writeFile(file, `${token}\n`);
  return { tls: { ca }, token: tokenFile(file) };
}

test("who is known may do what the rules say", async (t) => {
  const client = clientOf(t, await known());

  assert.equal((await client.get("shop", "key")).entry, undefined);
  await assert.rejects(client.get("other", "key"), { name: "PermissionDenied", reason: "NAMESPACE_DENIED" });
  await assert.rejects(client.set("shop", "key", ""), { name: "PermissionDenied", reason: "METHOD_DENIED" });
});

test("the daemon's name is checked, or the one that is given", async (t) => {
  const options = await known();
  const named = (serverName: string) =>
    clientOf(t, { ...options, tls: { ...options.tls!, serverName }, timeoutMs: 2000 });

  assert.equal((await named("localhost").get("shop", "key")).entry, undefined);
  await assert.rejects(named("another.example").get("shop", "key"), Unavailable);
});

test("a daemon of an unknown authority is not called", async (t) => {
  await assert.rejects(clientOf(t, { ...(await known()), tls: {}, timeoutMs: 2000 }).get("shop", "key"), Unavailable);
});

test("who is not known may nothing", async (t) => {
  const refused = token === undefined ? Unavailable : Unauthenticated;

  await assert.rejects(clientOf(t, { tls: { ca }, timeoutMs: 2000 }).get("shop", "key"), refused);
  if (token !== undefined) {
    await assert.rejects(clientOf(t, { tls: { ca }, token: "wrong" }).get("shop", "key"), { reason: "TOKEN_INVALID" });
  }
});
