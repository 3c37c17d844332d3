/** From a gRPC status to an error of this client. */
import { fromBinary } from "@bufbuild/protobuf";
import { anyUnpack, type Any } from "@bufbuild/protobuf/wkt";
import { status as Code, type ServiceError } from "@grpc/grpc-js";

import * as errors from "./errors.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RetryInfoSchema,
  StatusSchema,
} from "./gen/statesidecar/details/v1/details_pb.js";
import { ConflictInfoSchema } from "./gen/statesidecar/v1/types_pb.js";

const DOMAIN = "state-sidecar";
const DETAILS_KEY = "grpc-status-details-bin";

type ErrorClass = new (reason: string, text: string, details?: errors.ErrorDetails) => errors.StateSidecarError;

const ERROR_CLASSES: ReadonlyMap<number, ErrorClass> = new Map<number, ErrorClass>([
  [Code.CANCELLED, errors.Unavailable], // by the daemon, while it stops
  [Code.UNKNOWN, errors.InternalError],
  [Code.INVALID_ARGUMENT, errors.InvalidRequest],
  [Code.DEADLINE_EXCEEDED, errors.DeadlineExceeded],
  [Code.NOT_FOUND, errors.NotFound],
  [Code.ALREADY_EXISTS, errors.FailedPrecondition],
  [Code.PERMISSION_DENIED, errors.PermissionDenied],
  [Code.RESOURCE_EXHAUSTED, errors.LimitExceeded],
  [Code.FAILED_PRECONDITION, errors.FailedPrecondition],
  [Code.ABORTED, errors.VersionConflict],
  [Code.OUT_OF_RANGE, errors.WatchExpired],
  [Code.UNIMPLEMENTED, errors.CapabilityMissing],
  [Code.INTERNAL, errors.InternalError],
  [Code.UNAVAILABLE, errors.Unavailable],
  [Code.DATA_LOSS, errors.DataLoss],
  [Code.UNAUTHENTICATED, errors.Unauthenticated],
]);

/** The error for how a call ended. */
export function errorOf(failure: ServiceError): errors.StateSidecarError {
  const told = new Told();
  for (const packed of failure.metadata?.get(DETAILS_KEY) ?? []) {
    if (typeof packed !== "string") told.read(packed);
  }
  const unknown = told.reason === errors.Reason.writeOutcomeUnknown;
  const kind = unknown ? errors.WriteOutcomeUnknown : (ERROR_CLASSES.get(failure.code) ?? errors.InternalError);
  const message = failure.details || (Code[failure.code] ?? `status ${failure.code}`);
  const wrong = told.violations.filter((violation) => !message.includes(violation.what));
  const text = [message, ...wrong.map((violation) => `${violation.field}: ${violation.what}`)].join("; ");
  return new kind(told.reason, text, {
    ...told.details,
    code: failure.code,
    requestId: told.details.metadata?.request_id,
    cause: failure,
  });
}

/** What the details of a status say; what cannot be read is left unset, the code still stands. */
class Told {
  reason = "";
  readonly details: errors.ErrorDetails = {};
  readonly violations: { field: string; what: string }[] = [];

  read(packed: Uint8Array): void {
    try {
      for (const detail of fromBinary(StatusSchema, packed).details) this.#take(detail);
    } catch {
      // Not the daemon's own: the code and message are all there is
    }
  }

  #take(detail: Any): void {
    switch (detail.typeUrl.slice(detail.typeUrl.lastIndexOf("/") + 1)) {
      case "google.rpc.ErrorInfo": {
        const info = fromBinary(ErrorInfoSchema, detail.value);
        if (info.domain !== DOMAIN) return;
        this.reason = info.reason;
        this.details.metadata = info.metadata;
        return;
      }
      case "google.rpc.RetryInfo": {
        const delay = fromBinary(RetryInfoSchema, detail.value).retryDelay;
        if (delay) this.details.retryAfterMs = Math.max(0, Number(delay.seconds) * 1000 + delay.nanos / 1e6);
        return;
      }
      case "google.rpc.BadRequest":
        for (const { field, description } of fromBinary(BadRequestSchema, detail.value).fieldViolations) {
          this.violations.push({ field, what: description });
        }
        return;
    }
    const conflict = anyUnpack(detail, ConflictInfoSchema);
    if (!conflict) return; // A detail of a later release
    this.details.key = conflict.key;
    this.details.expectedVersion = conflict.expectedVersion;
    this.details.currentVersion = conflict.currentVersion;
  }
}
