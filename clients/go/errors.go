package statesidecar

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "statesidecar.internal/statesidecar/v1"
)

// What can go wrong, by what the caller does about it: errors.Is(err, ErrVersionConflict).
var (
	// ErrInvalidRequest: change the request.
	ErrInvalidRequest = errors.New("invalid request")
	// ErrVersionConflict: read again, then decide. Nothing was written.
	ErrVersionConflict = errors.New("version conflict")
	// ErrFailedPrecondition: fix something first: schema too new, not a JSON array, no key to update.
	ErrFailedPrecondition = errors.New("failed precondition")
	// ErrWatchExpired: changes since the resume token are forgotten; watch again, with a snapshot.
	ErrWatchExpired = errors.New("watch expired")
	// ErrNotFound: a checkpoint that is not there. A miss of Get is no error.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable: retry later. Nothing was written.
	ErrUnavailable = errors.New("unavailable")
	// ErrLimitExceeded: slow down. Nothing was written.
	ErrLimitExceeded = errors.New("limit exceeded")
	// ErrCapabilityMissing: this deployment, or this release, cannot do it.
	ErrCapabilityMissing = errors.New("capability missing")
	// ErrDataLoss: stored bytes do not verify; stop and look.
	ErrDataLoss = errors.New("data loss")
	// ErrUnauthenticated: nobody is known to be calling; give a token or a certificate that holds.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrPermissionDenied: this identity may not do that.
	ErrPermissionDenied = errors.New("permission denied")
	// ErrWriteOutcomeUnknown: the write may or may not have landed. The same request with Error.RequestID tells, for 24 h.
	ErrWriteOutcomeUnknown = errors.New("write outcome unknown")
	// ErrDeadlineExceeded: time ran out, and nothing was written.
	ErrDeadlineExceeded = errors.New("deadline exceeded")
	// ErrInternal: a bug of the daemon, or a status that it never sends.
	ErrInternal = errors.New("internal error")
)

const (
	domain             = "state-sidecar"
	epochChanged       = "EPOCH_CHANGED"
	notJSON            = "NOT_JSON"
	passthrough        = "PASSTHROUGH"
	queueFull          = "QUEUE_FULL"
	outcomeUnknownText = "WRITE_OUTCOME_UNKNOWN"
)

// Error is what every call fails with. Reason and Metadata are the contract; Message is for people.
type Error struct {
	// Code is the gRPC status that brought it. OK: found by the client itself.
	Code codes.Code
	// Reason is the daemon's, like VERSION_MISMATCH. Empty: the status came from the transport.
	Reason   string
	Message  string
	Metadata map[string]string
	// RetryAfter is how long the daemon asks to wait. 0: it didn't say.
	RetryAfter time.Duration
	// Conflict names the key whose guard failed, and both versions. Nil: it is no conflict, or the daemon didn't say.
	Conflict *pb.ConflictInfo
	// RequestID is what a write of unknown outcome was sent with.
	RequestID string

	causes []error // what errors.Is finds: one of the Err… above, and what ended the caller's context
	unsent bool    // no daemon has heard of the call
}

func (e *Error) Error() string {
	if e.Reason == "" || e.Message == "" {
		return "state-sidecar: " + e.Reason + e.Message
	}
	return "state-sidecar: " + e.Reason + ": " + e.Message
}

// Unwrap lets errors.Is find one of the Err… of this package, and context.Canceled or context.DeadlineExceeded where the
// caller's context ended.
func (e *Error) Unwrap() []error { return e.causes }

// GRPCStatus lets status.Code and status.Convert see the status.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// errorOf is the Error for what a gRPC call that ctx ended or the daemon answered has returned; sent says whether it left.
func errorOf(ctx context.Context, err error, sent bool) *Error {
	told := status.Convert(err)
	e := &Error{Code: told.Code(), Message: told.Message(), unsent: !sent}
	for _, detail := range told.Details() {
		e.add(detail)
	}
	e.causes = []error{kindOf(e.Code, e.Reason)}
	if errors.Is(e, ErrWriteOutcomeUnknown) {
		e.RequestID = e.Metadata["request_id"]
	}
	if ended := ctx.Err(); ended != nil && e.Reason == "" && (e.Code == codes.Canceled || e.Code == codes.DeadlineExceeded) {
		if e.Code == codes.Canceled {
			e.causes = nil // Not the daemon's doing: nothing of this package says it better
		}
		e.causes = append(e.causes, ended)
	}
	return e
}

func (e *Error) add(detail any) {
	switch detail := detail.(type) {
	case *errdetails.ErrorInfo:
		if detail.GetDomain() == domain {
			e.Reason, e.Metadata = detail.GetReason(), detail.GetMetadata()
		}
	case *errdetails.RetryInfo:
		e.RetryAfter = max(0, detail.GetRetryDelay().AsDuration())
	case *errdetails.BadRequest:
		for _, violation := range detail.GetFieldViolations() {
			if !strings.Contains(e.Message, violation.GetDescription()) {
				e.Message += "; " + violation.GetField() + ": " + violation.GetDescription()
			}
		}
	case *pb.ConflictInfo:
		e.Conflict = detail
	}
}

var kinds = map[codes.Code]error{
	codes.Canceled:           ErrUnavailable, // by the daemon, while it stops
	codes.InvalidArgument:    ErrInvalidRequest,
	codes.DeadlineExceeded:   ErrDeadlineExceeded,
	codes.NotFound:           ErrNotFound,
	codes.AlreadyExists:      ErrFailedPrecondition,
	codes.PermissionDenied:   ErrPermissionDenied,
	codes.ResourceExhausted:  ErrLimitExceeded,
	codes.FailedPrecondition: ErrFailedPrecondition,
	codes.Aborted:            ErrVersionConflict,
	codes.OutOfRange:         ErrWatchExpired,
	codes.Unimplemented:      ErrCapabilityMissing,
	codes.Unavailable:        ErrUnavailable,
	codes.DataLoss:           ErrDataLoss,
	codes.Unauthenticated:    ErrUnauthenticated,
}

// kindOf is what a status means for the caller: by reason where the reason says more than the code.
func kindOf(code codes.Code, reason string) error {
	if reason == outcomeUnknownText && (code == codes.Unknown || code == codes.DeadlineExceeded) {
		return ErrWriteOutcomeUnknown
	}
	if kind, known := kinds[code]; known {
		return kind
	}
	return ErrInternal
}

// unknownOutcome is what a write fails with that ended with last and may have landed.
func unknownOutcome(last *Error, requestID string) *Error {
	e := *last
	e.Reason, e.RequestID = outcomeUnknownText, requestID
	e.Message = "the write may or may not have landed; last: " + last.Error()
	ended := slices.DeleteFunc(slices.Clone(last.causes), func(cause error) bool {
		return cause != context.Canceled && cause != context.DeadlineExceeded
	})
	e.causes = append([]error{ErrWriteOutcomeUnknown}, ended...)
	return &e
}
