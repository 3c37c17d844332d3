/** Every unary call: sent until it is answered or may not be sent again, within its deadline; versions are remembered. */
import { randomBytes } from "node:crypto";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";

import {
  clone,
  create,
  isMessage,
  toBinary,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";

import type { Channel } from "./channel.js";
import {
  DeadlineExceeded,
  FailedPrecondition,
  InvalidRequest,
  NotFound,
  Reason,
  StateSidecarError,
  VersionConflict,
  WriteOutcomeUnknown,
} from "./errors.js";
import { StateService } from "./gen/statesidecar/v1/state_service_pb.js";
import { Memory } from "./memory.js";
import {
  attemptTimeoutMs,
  outcomeOpen,
  outcomeUnknown,
  pauseBeforeRetryMs,
  RetryBudget,
  type RetryPolicy,
} from "./retry.js";
import { checkText } from "./values.js";

/** What every call takes. */
export interface CallOptions {
  /** The time of the call with all its retries. Unset: the client's own. */
  readonly timeoutMs?: number | undefined;
  /** Ends the call with its reason. A write that is ended so may or may not have landed. */
  readonly signal?: AbortSignal | undefined;
}

/** What the calls of one client share. */
export class Calls {
  readonly #channel: Channel;
  readonly #timeoutMs: number;
  readonly #retry: RetryPolicy;
  readonly #budget: RetryBudget;
  readonly #memory = new Memory();

  constructor(channel: Channel, timeoutMs: number, retry: RetryPolicy) {
    this.#channel = channel;
    this.#timeoutMs = timeoutMs;
    this.#retry = retry;
    this.#budget = new RetryBudget(retry);
  }

  /**
   * Any unary RPC. A write gets a `requestId` of its own, the same in all retries, unless it has one; a CACHED read asks
   * for the newest version of its keys that this client has seen, unless it says a version.
   */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    init: MessageInitShape<I>,
    options: CallOptions = {},
  ): Promise<MessageShape<O>> {
    const message = create(method.input, isMessage(init, method.input) ? clone(method.input, init) : init);
    const asked = this.#memory.ask(message);
    const deadline = performance.now() + (options.timeoutMs ?? this.#timeoutMs);
    try {
      const reply = await this.#send(method, message, deadline, options.signal);
      this.#memory.learn(message, reply);
      return reply;
    } catch (error) {
      if (error instanceof VersionConflict) this.#memory.lost(message, error);
      if (!(error instanceof FailedPrecondition) || error.reason !== Reason.epochChanged) throw error;
      this.#memory.forget(message);
      if (!asked) throw error;
      const reply = await this.#send(method, message, deadline, options.signal);
      this.#memory.learn(message, reply);
      return reply;
    }
  }

  async #send<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    message: MessageShape<I>,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Promise<MessageShape<O>> {
    const writes = method.idempotency !== Idempotency.NO_SIDE_EFFECTS;
    const requestId = named(message);
    const request = encoded(method.input, message);
    let maybeLanded = false;
    this.#budget.earn();
    for (let attempt = 1; ; attempt++) {
      const remainingMs = deadline - performance.now();
      const splits = writes && this.#budget.allows();
      try {
        if (remainingMs <= 0) throw new DeadlineExceeded(Reason.deadlineExceeded, `no time left for ${method.name}`);
        const timeoutMs = attemptTimeoutMs(remainingMs, attempt, splits, this.#retry);
        return await this.#channel.attempt(method, request, timeoutMs, signal);
      } catch (error) {
        if (!(error instanceof StateSidecarError)) throw error;
        if (maybeLanded && deleted(method, error)) return create(method.output);
        const pauseMs = pauseBeforeRetryMs(error, attempt, deadline - performance.now(), this.#retry, Math.random);
        if (pauseMs === undefined || !this.#budget.spend(error)) {
          throw writes && outcomeUnknown(error, maybeLanded) ? unknownOutcome(error, requestId) : error;
        }
        maybeLanded ||= outcomeOpen(error);
        await pause(pauseMs, signal);
      }
    }
  }
}

/** Waits. Throws the signal's reason. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(ms, undefined, signal ? { signal } : {});
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}

/** Unguessable, and in the order of time: ids of one moment are neighbours in the store's index, as UUIDs of version 7. */
export function newRequestId(): string {
  return Date.now().toString(16).padStart(12, "0") + randomBytes(10).toString("hex");
}

/** The request id of a write, which it is given here if it has none. Empty: the request knows none. */
function named(message: object): string {
  if (!("requestId" in message)) return "";
  message.requestId ||= newRequestId();
  return message.requestId as string;
}

function encoded<I extends DescMessage>(schema: I, message: MessageShape<I>): Uint8Array {
  checkText(message);
  try {
    return toBinary(schema, message);
  } catch (error) {
    throw new InvalidRequest(Reason.requestMalformed, String(error), { cause: error });
  }
}

/** Whether a repeated deletion finds what its first delivery deleted not to be there. */
function deleted(method: DescMethodUnary, error: StateSidecarError): boolean {
  return (method as unknown) === StateService.method.deleteCheckpoint && error instanceof NotFound;
}

function unknownOutcome(last: StateSidecarError, requestId: string): WriteOutcomeUnknown {
  return new WriteOutcomeUnknown(
    Reason.writeOutcomeUnknown,
    `the write may or may not have landed; last: ${last.message}`,
    { code: last.code, metadata: last.metadata, requestId, cause: last },
  );
}
