/** How the client reaches the daemon. */
import { readFile } from "node:fs/promises";

import type { DescMessage, DescMethodUnary, MessageShape } from "@bufbuild/protobuf";
import { fromBinary } from "@bufbuild/protobuf";
import { type ChannelOptions, Client, credentials, Metadata, status as Code } from "@grpc/grpc-js";

import { InvalidRequest, type StateSidecarError } from "./errors.js";
import { errorOf } from "./status.js";

/** PEM texts. Without `ca` the system's authorities are trusted. */
export interface TlsOptions {
  readonly ca?: string | Uint8Array;
  /** What this client shows: both, or none. */
  readonly certificate?: string | Uint8Array;
  readonly key?: string | Uint8Array;
  /** The name that the daemon's certificate has, where it is not the target's. */
  readonly serverName?: string;
}

/** A bearer token, or what tells the one of now: it is asked before each attempt, so a token may rotate. */
export type Token = string | (() => string | Promise<string>);

/** The token that a file holds, read each time, because Kubernetes replaces those of service accounts. */
export function tokenFile(path: string): () => Promise<string> {
  return () => readFile(path, "utf8");
}

const DEFAULT_TARGET = "127.0.0.1:7420";
const TARGET_VARIABLE = "STATE_SIDECAR_TARGET";
const LOCAL = /^(?:unix:|(?:ipv4:|ipv6:|dns:(?:\/\/\/)?)?(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?$)/;
const MESSAGE_BYTES_MAX = 65 * 1024 * 1024; // A value of 64 MiB, and what travels with it
const OPTIONS: ChannelOptions = {
  "grpc.max_receive_message_length": MESSAGE_BYTES_MAX,
  "grpc.max_send_message_length": MESSAGE_BYTES_MAX,
  "grpc.enable_retries": 0, // One layer retries, and it is retry.ts
  "grpc.enable_http_proxy": 0, // The peer is in the same pod, whatever the environment says about proxies
  "grpc.use_local_subchannel_pool": 1, // A client's connection is its own, and gone when it is closed
  "grpc.service_config_disable_resolution": 1,
  // A daemon that restarts is back within a second; the library's own minimum is to wait for one, then ever longer.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000,
};

/** Where the daemon is: what was given, else the environment's, else its default. */
export function resolveTarget(target?: string): string {
  return target || process.env[TARGET_VARIABLE] || DEFAULT_TARGET;
}

/**
 * A connection with what the client needs to know to distrust it.
 *
 * A connection may stay up and bring nothing any more. The kernel notices late or never, so who waited in vain makes a
 * new one, unless others have been answered over this one meanwhile: then the daemon was slow, and the connection is not
 * to blame. The old one is closed when its last call has ended.
 */
class Connection {
  readonly client: Client;
  answers = 0;
  inFlight = 0;

  constructor(target: string, tls: TlsOptions | undefined) {
    const named = tls?.serverName;
    const options = named ? { ...OPTIONS, "grpc.ssl_target_name_override": named } : OPTIONS;
    this.client = new Client(target, tls ? secured(tls) : credentials.createInsecure(), options);
  }

  /** Notes how a call ended that began after `answersBefore` answers; whether the connection is to be given up. */
  failed(error: StateSidecarError, answersBefore: number): boolean {
    if (error.code === Code.DEADLINE_EXCEEDED && !error.reason) return this.answers === answersBefore;
    this.answers++;
    return false;
  }
}

/** Makes single attempts, over a connection that it replaces when nothing comes over it any more. */
export class Channel {
  readonly target: string;
  readonly #tls: TlsOptions | undefined;
  readonly #token: Token | undefined;
  #connection: Connection | undefined;
  #closed = false;

  /** Throws InvalidRequest for a token that would leave the machine unencrypted. */
  constructor(target: string, tls: TlsOptions | undefined, token: Token | undefined) {
    if (token !== undefined && !tls && !LOCAL.test(target)) {
      throw new InvalidRequest("TOKEN_IN_PLAIN_TEXT", `a token for ${target} needs tls`);
    }
    this.target = target;
    this.#tls = tls;
    this.#token = token;
  }

  /** One RPC. Throws a StateSidecarError, or the signal's reason. */
  async attempt<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: Uint8Array,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<MessageShape<O>> {
    const deadline = Date.now() + timeoutMs;
    const metadata = await this.#metadata();
    signal?.throwIfAborted();
    const connection = this.#borrow();
    const before = connection.answers;
    try {
      const reply = await unary(connection.client, method, request, metadata, deadline, signal);
      connection.answers++;
      return reply;
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      const failure = errorOf(error as Parameters<typeof errorOf>[0]);
      if (connection.failed(failure, before) && this.#connection === connection) this.#connection = undefined;
      throw failure;
    } finally {
      connection.inFlight--;
      if (connection !== this.#connection && connection.inFlight === 0) connection.client.close();
    }
  }

  /** Calls in flight end as they end; others are refused. */
  close(): void {
    this.#closed = true;
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection?.inFlight === 0) connection.client.close();
  }

  #borrow(): Connection {
    if (this.#closed) throw new InvalidRequest("CLIENT_CLOSED", "the client is closed");
    this.#connection ??= new Connection(this.target, this.#tls);
    this.#connection.inFlight++;
    return this.#connection;
  }

  async #metadata(): Promise<Metadata> {
    const metadata = new Metadata();
    if (this.#token !== undefined) {
      const token = typeof this.#token === "function" ? await this.#token() : this.#token;
      metadata.set("authorization", `Bearer ${token.trim()}`);
    }
    return metadata;
  }
}

function unary<I extends DescMessage, O extends DescMessage>(
  client: Client,
  method: DescMethodUnary<I, O>,
  request: Uint8Array,
  metadata: Metadata,
  deadline: number,
  signal: AbortSignal | undefined,
): Promise<MessageShape<O>> {
  return new Promise((resolve, reject) => {
    const cancel = () => call.cancel();
    const call = client.makeUnaryRequest(
      `/${method.parent.typeName}/${method.name}`,
      ({ buffer, byteOffset, byteLength }: Uint8Array) => Buffer.from(buffer, byteOffset, byteLength),
      (bytes: Buffer) => fromBinary(method.output, bytes),
      request,
      metadata,
      { deadline },
      (error, reply) => {
        signal?.removeEventListener("abort", cancel);
        if (error) reject(error);
        else resolve(reply!);
      },
    );
    signal?.addEventListener("abort", cancel, { once: true });
  });
}

function secured({ ca, key, certificate }: TlsOptions) {
  const pem = (text: string | Uint8Array | undefined) => (text === undefined ? null : Buffer.from(text));
  return credentials.createSsl(pem(ca), pem(key), pem(certificate));
}
