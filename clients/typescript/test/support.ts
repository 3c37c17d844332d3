/** A server that answers what a test says, and a proxy that loses what comes back. */
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";

import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { anyPack, DurationSchema } from "@bufbuild/protobuf/wkt";
import { Metadata, Server, ServerCredentials, status as Code, type ServiceDefinition } from "@grpc/grpc-js";

import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
  StatusSchema,
} from "../src/gen/statesidecar/details/v1/details_pb.js";
import { StateClient, type ClientOptions } from "../src/index.js";
import { ConflictInfoSchema, StateService } from "../src/v1.js";

/** Where the daemon of the tests is; the program that runs them starts it. */
export function daemonTarget(): string {
  const target = process.env["STATE_SIDECAR_TARGET"];
  assert.ok(target, "STATE_SIDECAR_TARGET names the daemon of the tests");
  return target;
}

/** A client that is closed when the test has ended. */
export function clientOf(test: { after(close: () => void): void }, options: ClientOptions = {}): StateClient {
  const client = new StateClient(options);
  test.after(() => client.close());
  return client;
}

/** What a status says beside its code. */
export interface Said {
  readonly code: Code;
  readonly reason?: string;
  readonly domain?: string;
  readonly retryAfterMs?: number;
  readonly metadata?: Record<string, string>;
  readonly conflict?: MessageInitShape<typeof ConflictInfoSchema>;
  readonly violation?: { field: string; description: string };
}

type Answer = Said | { readonly reply: object } | "silence";

/** What the server was sent. */
export interface Received {
  readonly rpc: string;
  readonly request: Record<string, unknown>;
  readonly metadata: Metadata;
}

/** A server of StateService that answers call by call what it is told. */
export class Scripted {
  readonly received: Received[] = [];
  readonly answers: Answer[] = [];
  readonly #server = new Server();
  #target = "";

  get target(): string {
    return this.#target;
  }

  async start(): Promise<this> {
    const service: Record<string, unknown> = {};
    const handlers: Record<string, unknown> = {};
    for (const method of StateService.methods.filter(({ methodKind }) => methodKind === "unary")) {
      service[method.name] = definition(method.name, method.input, method.output);
      handlers[method.name] = this.#handler(method.name);
    }
    this.#server.addService(service as unknown as ServiceDefinition, handlers as never);
    const port = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
        error ? reject(error) : resolve(bound),
      );
    });
    this.#target = `127.0.0.1:${port}`;
    return this;
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  #handler(rpc: string) {
    return (
      call: { request: Record<string, unknown>; metadata: Metadata },
      answered: (error: unknown, reply?: object) => void,
    ) => {
      this.received.push({ rpc, request: call.request, metadata: call.metadata });
      const answer = this.answers.shift();
      assert.ok(answer, `the test says nothing for ${rpc}`);
      if (answer === "silence") return;
      if ("reply" in answer) answered(null, answer.reply);
      else answered(failure(answer));
    };
  }
}

/** A server for one test. */
export async function scripted(test: { after(close: () => void): void }, ...answers: Answer[]): Promise<Scripted> {
  const server = await new Scripted().start();
  server.answers.push(...answers);
  test.after(() => server.stop());
  return server;
}

function definition<I extends DescMessage, O extends DescMessage>(name: string, input: I, output: O) {
  return {
    path: `/${StateService.typeName}/${name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: (message: MessageShape<I>) => Buffer.from(toBinary(input, message)),
    requestDeserialize: (bytes: Buffer) => fromBinary(input, bytes),
    responseSerialize: (reply: MessageInitShape<O>) => Buffer.from(toBinary(output, create(output, reply))),
    responseDeserialize: (bytes: Buffer) => fromBinary(output, bytes),
  };
}

function failure(said: Said) {
  const pack = <D extends DescMessage>(name: string, schema: D, init: MessageInitShape<D>) => {
    const packed = anyPack(schema, create(schema, init));
    return { ...packed, typeUrl: `type.googleapis.com/${name}` };
  };
  const { reason, domain = "state-sidecar", metadata = {}, retryAfterMs, conflict, violation } = said;
  const details = [];
  if (reason !== undefined) details.push(pack("google.rpc.ErrorInfo", ErrorInfoSchema, { reason, domain, metadata }));
  if (retryAfterMs !== undefined) {
    const retryDelay = create(DurationSchema, { nanos: retryAfterMs * 1e6 });
    details.push(pack("google.rpc.RetryInfo", RetryInfoSchema, { retryDelay }));
  }
  if (conflict) details.push(pack("statesidecar.v1.ConflictInfo", ConflictInfoSchema, conflict));
  if (violation) details.push(pack("google.rpc.BadRequest", BadRequestSchema, { fieldViolations: [violation] }));
  const trailing = new Metadata();
  const packed = toBinary(StatusSchema, create(StatusSchema, { details }));
  if (details.length) trailing.set("grpc-status-details-bin", Buffer.from(packed));
  return { code: said.code, details: "said no", metadata: trailing };
}

/** A TCP proxy to the daemon. Told to lose, it cuts each connection, or says nothing, once the daemon answers. */
export class Proxy {
  #losses: ("cut" | "silence")[] = [];
  readonly #server = net.createServer((near) => this.#join(near));
  readonly #sockets = new Set<net.Socket>();

  /** Loses the answers to the next calls, one each. */
  lose(...how: ("cut" | "silence")[]): void {
    this.#losses.push(...how);
  }

  get lossesLeft(): number {
    return this.#losses.length;
  }

  async start(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `127.0.0.1:${(this.#server.address() as net.AddressInfo).port}`;
  }

  stop(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #join(near: net.Socket): void {
    const [host, port] = daemonTarget().split(":");
    const far = net.connect(Number(port), host);
    let asked = false;
    let silent = false;
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.on("error", () => socket.destroy());
      socket.on("close", () => (near.destroy(), far.destroy()));
    }
    near.on("data", (data) => {
      asked ||= this.#losses.length > 0 && carriesData(data);
      far.write(data);
    });
    far.on("data", (data) => {
      if (asked && !silent && carriesData(data)) {
        if (this.#losses.shift() === "cut") return void near.destroy();
        silent = true;
      }
      if (!silent) near.write(data);
    });
  }
}

/** Whether whole HTTP/2 frames among these bytes carry a message (RFC 9113, 4.1: type 0 is DATA). */
function carriesData(bytes: Buffer): boolean {
  const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  let at = bytes.subarray(0, preface.length).toString("latin1") === preface ? preface.length : 0;
  for (; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
    if (bytes[at + 3] === 0) return true;
  }
  return false;
}
