/**
 * Whether, when and for how long a call is tried again. Everything that decides about retries is here, without a clock.
 *
 * This is the one layer that retries: gRPC's own retries are off. Every call may be repeated: a write under its one
 * request id, which makes the daemon answer what the first delivery did, and what has none does no harm twice.
 */
import { status as Code } from "@grpc/grpc-js";

import { LimitExceeded, Reason, StateSidecarError, Unavailable, WriteOutcomeUnknown } from "./errors.js";

/** How often and how patiently a call is tried, always within its own timeout. */
export interface RetryPolicy {
  /** Attempts a call, the first included. 1: no retries. */
  readonly attemptsMax: number;
  /** The pause before the n-th retry is drawn from 0 to `backoffInitialMs * 2 ** (n - 1)`, at most `backoffMaxMs`. */
  readonly backoffInitialMs: number;
  readonly backoffMaxMs: number;
  /** Of all calls of a client together: a retry has to be earned by so many calls. 0: by none. */
  readonly callsPerRetry: number;
  /** How many retries can be saved up; a client begins with these. */
  readonly retriesSavedMax: number;
}

export const DEFAULT_RETRY: RetryPolicy = {
  attemptsMax: 20,
  backoffInitialMs: 50,
  backoffMaxMs: 1000,
  callsPerRetry: 10,
  retriesSavedMax: 10,
};

// Statuses after which the daemon may have received the call, when they come without its ErrorInfo: from the transport,
// or from this client's own timer.
const OUTCOME_OPEN: ReadonlySet<number> = new Set([
  Code.UNAVAILABLE,
  Code.DEADLINE_EXCEEDED,
  Code.CANCELLED,
  Code.UNKNOWN,
  Code.INTERNAL,
]);
// The daemon's definite answers: with the same request id they are about the first delivery as well.
const DEFINITE: ReadonlySet<number> = new Set([
  Code.ABORTED,
  Code.INVALID_ARGUMENT,
  Code.FAILED_PRECONDITION,
  Code.NOT_FOUND,
]);
// What grpc-js says of a call for which it never had a connection. Anything else it may have sent.
const NEVER_SENT = /^(?:No connection established|Name resolution failed)/;
const HALVING_FLOOR_MS = 200;

/** Throws RangeError for a policy that makes no sense. */
export function checkPolicy(policy: RetryPolicy): RetryPolicy {
  const { attemptsMax, backoffInitialMs, backoffMaxMs, callsPerRetry, retriesSavedMax } = policy;
  if (!(attemptsMax >= 1 && backoffInitialMs >= 0 && backoffMaxMs >= backoffInitialMs)) {
    throw new RangeError("attemptsMax >= 1 and 0 <= backoffInitialMs <= backoffMaxMs are needed");
  }
  if (!(callsPerRetry >= 0 && retriesSavedMax >= 0)) {
    throw new RangeError("callsPerRetry >= 0 and retriesSavedMax >= 0 are needed");
  }
  return policy;
}

/**
 * What a client may still retry: a bucket that every call fills a little and every retry takes from.
 *
 * A daemon in trouble then gets a tenth more calls from its clients, not a multiple of them. An attempt that found no
 * daemon to connect to is no burden for anybody, and costs nothing: a restart is waited for.
 */
export class RetryBudget {
  readonly #price: number;
  readonly #full: number;
  #left: number;

  constructor(policy: RetryPolicy) {
    this.#price = policy.callsPerRetry;
    this.#full = this.#left = policy.callsPerRetry * policy.retriesSavedMax;
  }

  /** A call was made. */
  earn(): void {
    this.#left = Math.min(this.#left + 1, this.#full);
  }

  /** Whether there is a retry left. */
  allows(): boolean {
    return this.#left >= this.#price;
  }

  /** Takes the retry of an attempt that failed so, if there is one left. */
  spend(after: StateSidecarError): boolean {
    if (neverSent(after)) return true;
    if (!this.allows()) return false;
    this.#left -= this.#price;
    return true;
  }
}

/**
 * The pause after the `attempt`-th attempt (1: the first): exponential, full jitter.
 *
 * Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog (2015).
 */
export function backoffMs(
  attempt: number,
  policy: Pick<RetryPolicy, "backoffInitialMs" | "backoffMaxMs">,
  random: () => number,
): number {
  return random() * Math.min(policy.backoffMaxMs, policy.backoffInitialMs * 2 ** (attempt - 1));
}

/**
 * The time that the `attempt`-th attempt may take.
 *
 * A call that `splits` (a write) leaves half of what remains to its successors: a reply that was lost on a connection
 * that stays up is seen only by time running out, and the repetition needs time to learn the truth.
 */
export function attemptTimeoutMs(remainingMs: number, attempt: number, splits: boolean, policy: RetryPolicy): number {
  if (!splits || attempt >= policy.attemptsMax || remainingMs <= HALVING_FLOOR_MS) return remainingMs;
  return remainingMs / 2;
}

/** Whether there was no connection to send it on: no daemon has heard of it. */
export function neverSent(error: StateSidecarError): boolean {
  return error.code === Code.UNAVAILABLE && !error.reason && NEVER_SENT.test(error.text);
}

/** Whether a write that ended so may have landed. */
export function outcomeOpen(error: StateSidecarError): boolean {
  if (error instanceof WriteOutcomeUnknown) return true;
  if (error.reason || error.code === undefined || !OUTCOME_OPEN.has(error.code)) return false;
  return !neverSent(error);
}

/** Whether the same call, sent again, may do better. */
export function repeatable(error: StateSidecarError): boolean {
  switch (error.code) {
    case Code.UNAVAILABLE:
      // PASSTHROUGH: the daemon knows that its authority is away; whether to wait is the caller's choice
      if (error.reason === Reason.passthrough) return false;
      return error.reason !== Reason.authorityUnavailable || retryAfterMs(error) !== undefined;
    case Code.RESOURCE_EXHAUSTED:
      return error.reason === Reason.queueFull;
    case Code.DEADLINE_EXCEEDED:
      return true;
    default:
      return outcomeOpen(error);
  }
}

/**
 * How long to wait before the next attempt, or undefined: the `attempt`-th (1: the first) was the last.
 *
 * Waits at least as long as the daemon asked for, and never into the deadline.
 */
export function pauseBeforeRetryMs(
  error: StateSidecarError,
  attempt: number,
  remainingMs: number,
  policy: RetryPolicy,
  random: () => number,
): number | undefined {
  if (attempt >= policy.attemptsMax || !repeatable(error)) return undefined;
  const pauseMs = (retryAfterMs(error) ?? 0) + backoffMs(attempt, policy, random);
  return pauseMs < remainingMs ? pauseMs : undefined;
}

/**
 * Whether a write that ended with `error` has an unknown outcome.
 *
 * `openBefore`: an earlier attempt may have landed. Then only a definite answer of the daemon is believed, because what
 * says that nothing was written says so of its own attempt only. EPOCH_CHANGED is none: what the earlier attempt found
 * was another epoch.
 */
export function outcomeUnknown(error: StateSidecarError, openBefore: boolean): boolean {
  const definite = error.code !== undefined && DEFINITE.has(error.code) && error.reason !== Reason.epochChanged;
  return outcomeOpen(error) || (openBefore && !definite);
}

function retryAfterMs(error: StateSidecarError): number | undefined {
  return error instanceof Unavailable || error instanceof LimitExceeded ? error.retryAfterMs : undefined;
}
