/**
 * What can go wrong, by what the caller does about it.
 *
 *     StateSidecarError            reason, code, metadata; never thrown itself
 *     ├── InvalidRequest           change the request
 *     ├── VersionConflict          read again, then decide; carries the current version
 *     ├── FailedPrecondition       fix something first: schema too new, not a JSON array, no key to update
 *     ├── WatchExpired             changes since the resume token are forgotten
 *     ├── NotFound                 a checkpoint that is not there; a miss of get is no error
 *     ├── Unavailable              retry later; nothing was written; carries retryAfterMs
 *     ├── LimitExceeded            slow down; carries retryAfterMs
 *     ├── CapabilityMissing        this deployment cannot do it
 *     ├── DataLoss                 stored bytes do not verify: stop and look
 *     ├── Unauthenticated          nobody is known to be calling: give a token or a certificate that holds
 *     ├── PermissionDenied         this identity may not do that
 *     ├── WriteOutcomeUnknown      the write may or may not have landed: repeat it with the same requestId to learn
 *     ├── DeadlineExceeded         time ran out, and nothing was written
 *     └── InternalError            a bug of the daemon, or a status that it never sends
 *
 * `reason` and `metadata` are the contract; the message is for people.
 */

/** The daemon's reasons that this client itself acts on, or gives. */
export const Reason = {
  authorityUnavailable: "AUTHORITY_UNAVAILABLE",
  deadlineExceeded: "DEADLINE_EXCEEDED",
  epochChanged: "EPOCH_CHANGED",
  notJson: "NOT_JSON",
  numberUnsafe: "NUMBER_UNSAFE",
  passthrough: "PASSTHROUGH",
  queueFull: "QUEUE_FULL",
  requestMalformed: "REQUEST_MALFORMED",
  writeOutcomeUnknown: "WRITE_OUTCOME_UNKNOWN",
} as const;

/** What an error may carry; each kind uses what is its own. */
export interface ErrorDetails {
  /** The gRPC status that brought it. Unset: found by the client itself. */
  code?: number | undefined;
  metadata?: Readonly<Record<string, string>> | undefined;
  retryAfterMs?: number | undefined;
  requestId?: string | undefined;
  key?: string | undefined;
  expectedVersion?: bigint | undefined;
  currentVersion?: bigint | undefined;
  cause?: unknown;
}

/** What all errors of this client have in common. */
export abstract class StateSidecarError extends Error {
  /** The daemon's reason, like VERSION_MISMATCH. Empty: the status came from the transport. */
  readonly reason: string;
  /** What the error says, without the reason. */
  readonly text: string;
  /** The gRPC status that brought it. Undefined: found by the client itself. */
  readonly code: number | undefined;
  readonly metadata: Readonly<Record<string, string>>;

  constructor(reason: string, text: string, details: ErrorDetails = {}) {
    super(reason && text ? `${reason}: ${text}` : reason || text, { cause: details.cause });
    this.name = new.target.name;
    this.reason = reason;
    this.text = text;
    this.code = details.code;
    this.metadata = details.metadata ?? {};
  }
}

/** The request can never succeed as it is. */
export class InvalidRequest extends StateSidecarError {}

/** A guarded write lost: the key's version is not the expected one. Nothing was written. */
export class VersionConflict extends StateSidecarError {
  /** The key whose guard failed. Empty: the daemon didn't say. */
  readonly key: string;
  /** 0n: the key was to be absent. Undefined: the daemon didn't say. */
  readonly expectedVersion: bigint | undefined;
  /** 0n: the key is absent. Undefined: the daemon didn't say. */
  readonly currentVersion: bigint | undefined;

  constructor(reason: string, text: string, details: ErrorDetails = {}) {
    super(reason, text, details);
    this.key = details.key ?? "";
    this.expectedVersion = details.expectedVersion;
    this.currentVersion = details.currentVersion;
  }
}

/** The system, or the stored value, has to change first. */
export class FailedPrecondition extends StateSidecarError {}

/** Some of the changes that a watch has not told can't be told any more. */
export class WatchExpired extends StateSidecarError {}

/** What the call needs is not there. */
export class NotFound extends StateSidecarError {}

abstract class Retryable extends StateSidecarError {
  /** What the daemon asks to wait. Undefined: it didn't say. */
  readonly retryAfterMs: number | undefined;

  constructor(reason: string, text: string, details: ErrorDetails = {}) {
    super(reason, text, details);
    this.retryAfterMs = details.retryAfterMs;
  }
}

/** Not now: the same call may succeed later. Nothing was written. */
export class Unavailable extends Retryable {}

/** A limit of the daemon or of the caller's quota is reached. Nothing was written. */
export class LimitExceeded extends Retryable {}

/** This deployment, or this release, cannot do it. */
export class CapabilityMissing extends StateSidecarError {}

/** Stored bytes do not verify. */
export class DataLoss extends StateSidecarError {}

/** Nobody is known to be calling: give a token or a certificate that holds. */
export class Unauthenticated extends StateSidecarError {}

/** The daemon does not know the caller, or does not let it do this. */
export class PermissionDenied extends StateSidecarError {}

/** Whether the write has landed is not known. The same call with this `requestId` tells, for 24 hours. */
export class WriteOutcomeUnknown extends StateSidecarError {
  /** What the write was sent with. Empty: it needs none, and may be repeated as it is. */
  readonly requestId: string;

  constructor(reason: string, text: string, details: ErrorDetails = {}) {
    super(reason, text, details);
    this.requestId = details.requestId ?? "";
  }
}

/** The time of the call ran out. Nothing was written. */
export class DeadlineExceeded extends StateSidecarError {}

/** The daemon failed in a way that it should not; of a write, the outcome is not known. */
export class InternalError extends StateSidecarError {}
