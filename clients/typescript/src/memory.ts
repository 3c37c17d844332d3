/** Which versions a request asks for, and which a reply tells: what makes a client read its own writes. */
import { isMessage, type Message } from "@bufbuild/protobuf";

import type { VersionConflict } from "./errors.js";
import { Floors } from "./floors.js";
import * as pb from "./gen/statesidecar/v1/state_service_pb.js";
import { Consistency } from "./gen/statesidecar/v1/types_pb.js";

/** The floors of a client, as requests and replies use them. */
export class Memory {
  readonly #floors = new Floors();

  /** Puts what is known into a read that may be answered from a cache and says no version; whether it did. */
  ask(request: Message): boolean {
    if (isMessage(request, pb.GetRequestSchema)) {
      if (request.consistency === Consistency.STRONG || request.minVersion !== 0n) return false;
      request.minVersion = this.#floors.get(request.namespace, request.key);
      return request.minVersion !== 0n;
    }
    if (isMessage(request, pb.BatchGetRequestSchema)) {
      if (request.consistency === Consistency.STRONG || request.minVersions.length > 0) return false;
      const known = request.keys.map((key) => this.#floors.get(request.namespace, key));
      if (!known.some((version) => version !== 0n)) return false;
      request.minVersions = known;
      return true;
    }
    return false;
  }

  /** Remembers the versions that a reply tells. */
  learn(request: Message, reply: Message): void {
    for (const [key, version] of told(request, reply)) this.#floors.observe(namespaceOf(request), key, version);
  }

  /** The next CACHED read has to see what a write lost to. */
  lost(request: Message, conflict: VersionConflict): void {
    this.#floors.observe(namespaceOf(request), conflict.key, conflict.currentVersion ?? 0n);
  }

  /** Drops what is known of a request's keys, and asks for none of it: the authority has gone back in time. */
  forget(request: Message): void {
    const keys = isMessage(request, pb.BatchGetRequestSchema) ? request.keys : [keyOf(request)];
    for (const key of keys) this.#floors.forget(namespaceOf(request), key);
    if (isMessage(request, pb.GetRequestSchema)) request.minVersion = 0n;
    if (isMessage(request, pb.BatchGetRequestSchema)) request.minVersions = [];
  }
}

function* told(request: Message, reply: Message): Generator<[key: string, version: bigint]> {
  if (isMessage(reply, pb.GetResponseSchema)) {
    if (reply.entry) yield [reply.entry.key, reply.entry.version];
  } else if (isMessage(reply, pb.BatchGetResponseSchema)) {
    for (const { entry } of reply.results) if (entry) yield [entry.key, entry.version];
  } else if (isMessage(reply, pb.RestoreResponseSchema)) {
    for (const entry of reply.entries) yield [entry.key, entry.version];
  } else if (isMessage(reply, pb.TransactResponseSchema)) {
    for (const [index, { result }] of reply.results.entries()) {
      const operation = (request as pb.TransactRequest).operations[index]?.operation;
      if (operation?.value && result.value && "version" in result.value) {
        yield [operation.value.key, result.value.version];
      }
    }
  } else if (WRITTEN.some((schema) => isMessage(reply, schema))) {
    yield [keyOf(request), (reply as pb.SetResponse).version];
  }
}

const WRITTEN = [pb.SetResponseSchema, pb.CASResponseSchema, pb.DeleteResponseSchema, pb.UpdateResponseSchema];

function namespaceOf(request: Message): string {
  return "namespace" in request ? (request.namespace as string) : "";
}

function keyOf(request: Message): string {
  return "key" in request ? (request.key as string) : "";
}
