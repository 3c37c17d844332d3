/** The client of the daemon beside this process. */
import type { DescMethod, DescMethodUnary, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";

import { Calls, type CallOptions } from "./calls.js";
import { Channel, resolveTarget, type TlsOptions, type Token } from "./channel.js";
import { AdminService } from "./gen/statesidecar/v1/admin_service_pb.js";
import { OutboxService } from "./gen/statesidecar/v1/outbox_service_pb.js";
import {
  StateService,
  type CASResponse,
  type DeleteResponse,
  type GetResponse,
  type SetResponse,
} from "./gen/statesidecar/v1/state_service_pb.js";
import type { Consistency, Entry } from "./gen/statesidecar/v1/types_pb.js";
import { checkPolicy, DEFAULT_RETRY, type RetryPolicy } from "./retry.js";
import { Session, update, type Outbox, type SessionOptions, type StateUpdate, type UpdateOptions } from "./session.js";
import { bytesOf, durationOf } from "./values.js";

/** How a client is made. */
export interface ClientOptions {
  /** host:port or unix:///path. Unset: $STATE_SIDECAR_TARGET, else 127.0.0.1:7420. */
  readonly target?: string;
  /** The time of a call with all its retries. Unset: 5000. */
  readonly timeoutMs?: number;
  readonly retry?: Partial<RetryPolicy>;
  /** Encrypts. Unset: plain, as is right for a Unix socket and for loopback. */
  readonly tls?: TlsOptions;
  /** Says who is calling. */
  readonly token?: Token;
}

/** Of a read. */
export interface ReadOptions extends CallOptions {
  /** Unset: CACHED. */
  readonly consistency?: Consistency;
  /** A CACHED answer is no older. Unset: than the newest version of the key that this client has seen. */
  readonly minVersion?: bigint;
  /** The newest schema that the caller understands. Unset: any. */
  readonly maxSchemaVersion?: number;
}

/** Of a write. */
export interface WriteOptions extends CallOptions {
  readonly contentType?: string;
  readonly schemaVersion?: number;
  readonly labels?: Readonly<Record<string, string>>;
  /** Unset: the namespace's ttl. */
  readonly ttlMs?: number;
  /** Messages that go out if, and only if, the write took effect. */
  readonly outbox?: Outbox;
  /** Of a write whose outcome is to be learnt: repeated with its id, it answers what it did the first time. */
  readonly requestId?: string;
}

/** Every unary RPC of a service, by name. */
export type Rpcs<S extends DescService> = {
  readonly [
    M in keyof S["method"] as S["method"][M] extends DescMethodUnary ? M : never
  ]: S["method"][M] extends DescMethodUnary<infer I, infer O>
    ? (request: MessageInitShape<I>, options?: CallOptions) => Promise<MessageShape<O>>
    : never;
};

/**
 * Calls the daemon; every call is retried within its time, as README.md says. One client serves a whole process.
 *
 * Any call may throw InvalidRequest, Unavailable, LimitExceeded, Unauthenticated, PermissionDenied, DataLoss, DeadlineExceeded and
 * InternalError, and any write WriteOutcomeUnknown.
 */
export class StateClient {
  /** Every unary RPC as the protos have it, with the same retries, request ids and versions. */
  readonly state: Rpcs<typeof StateService>;
  readonly outbox: Rpcs<typeof OutboxService>;
  readonly admin: Rpcs<typeof AdminService>;
  readonly #channel: Channel;
  readonly #calls: Calls;

  /** Connects with the first call. Throws InvalidRequest (TOKEN_IN_PLAIN_TEXT) for a token that would be sent in clear. */
  constructor(options: ClientOptions = {}) {
    this.#channel = new Channel(resolveTarget(options.target), options.tls, options.token);
    this.#calls = new Calls(
      this.#channel,
      options.timeoutMs ?? 5000,
      checkPolicy({ ...DEFAULT_RETRY, ...options.retry }),
    );
    this.state = rpcs(this.#calls, StateService);
    this.outbox = rpcs(this.#calls, OutboxService);
    this.admin = rpcs(this.#calls, AdminService);
  }

  /** Where the daemon is, as gRPC names it. */
  get target(): string {
    return this.#channel.target;
  }

  /** Loads a JSON state to work on. `session.save()` saves it, by compare-and-set. */
  load<S = Record<string, unknown>>(
    namespace: string,
    key: string,
    options: SessionOptions<S> = {},
  ): Promise<Session<S>> {
    return Session.load(this.#calls, namespace, key, options);
  }

  /**
   * Runs `change` on a JSON state and saves what it made of it, again and again until no other writer was faster.
   *
   * It changes the state in place, or returns another; it may run more than once, so it should do nothing else. A state
   * that is left as it was is not written, and neither are the messages. The time is that of each load and each save.
   * Throws VersionConflict after `attemptsMax` lost saves, FailedPrecondition (NOT_JSON, NUMBER_UNSAFE) if the stored
   * value is no JSON that JavaScript can hold, and Unavailable, before `change` runs, while the authority is away.
   */
  update<S = Record<string, unknown>>(
    namespace: string,
    key: string,
    change: (state: S) => S | void | Promise<S | void>,
    options: UpdateOptions<S> = {},
  ): Promise<StateUpdate<S>> {
    return update(this.#calls, namespace, key, change, options);
  }

  /** Reads a key. A miss is an ordinary answer: without `entry`. */
  get(namespace: string, key: string, options: ReadOptions = {}): Promise<GetResponse> {
    const { consistency, minVersion, maxSchemaVersion, ...call } = options;
    return this.state.get(given({ namespace, key, consistency, minVersion, maxSchemaVersion }), call);
  }

  /** Writes a key, whatever was there. */
  set(namespace: string, key: string, value: Uint8Array | string, options: WriteOptions = {}): Promise<SetResponse> {
    return this.state.set({ namespace, key, value: bytesOf(value), ...written(options) }, options);
  }

  /** Writes a key if its version is the expected one; 0n: if it does not exist. Throws VersionConflict if not. */
  cas(
    namespace: string,
    key: string,
    value: Uint8Array | string,
    options: WriteOptions & { readonly expectedVersion: bigint },
  ): Promise<CASResponse> {
    const { expectedVersion } = options;
    return this.state.cAS({ namespace, key, value: bytesOf(value), expectedVersion, ...written(options) }, options);
  }

  /** Deletes a key; of an absent one that is no error, unless a version was expected (VersionConflict). */
  delete(
    namespace: string,
    key: string,
    options: Pick<WriteOptions, "outbox" | "requestId"> & CallOptions & { readonly expectedVersion?: bigint } = {},
  ): Promise<DeleteResponse> {
    const { expectedVersion, requestId, outbox } = options;
    return this.state.delete(
      given({ namespace, key, expectedVersion, requestId, outbox: outbox && [...outbox] }),
      options,
    );
  }

  /** Entries whose keys begin with `prefix`, in key order, a page at a time as they are asked for. */
  async *list(
    namespace: string,
    prefix = "",
    options: CallOptions & {
      readonly keysOnly?: boolean;
      readonly pageSize?: number;
      readonly maxSchemaVersion?: number;
    } = {},
  ): AsyncGenerator<Entry, void, void> {
    const { keysOnly, pageSize, maxSchemaVersion } = options;
    const request = given({ namespace, keyPrefix: prefix, keysOnly, pageSize, maxSchemaVersion });
    let pageToken = "";
    do {
      const page = await this.state.list({ ...request, pageToken }, options);
      yield* page.entries;
      pageToken = page.nextPageToken;
    } while (pageToken);
  }

  /** Closes the connection when its last call has ended. Later calls throw InvalidRequest (CLIENT_CLOSED). */
  close(): void {
    this.#channel.close();
  }
}

function rpcs<S extends DescService>(calls: Calls, service: S): Rpcs<S> {
  const unary = service.methods.filter((method: DescMethod) => method.methodKind === "unary");
  const call =
    (method: DescMethodUnary) => (request: MessageInitShape<DescMethodUnary["input"]>, options?: CallOptions) =>
      calls.call(method, request, options);
  return Object.fromEntries(unary.map((method) => [method.localName, call(method as DescMethodUnary)])) as Rpcs<S>;
}

function written({ contentType, schemaVersion, labels, ttlMs, outbox, requestId }: WriteOptions) {
  const ttl = ttlMs === undefined ? undefined : durationOf(ttlMs);
  return given({
    contentType,
    schemaVersion,
    labels: labels && { ...labels },
    ttl,
    outbox: outbox && [...outbox],
    requestId,
  });
}

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** Without the fields that are not set. */
function given<T extends object>(fields: T): Given<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Given<T>;
}
