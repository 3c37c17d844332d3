package statesidecar

import (
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
)

// Whether, when and for how long a call is tried again: everything that decides about it is here, without a clock.
//
// A write is repeated under its one request id, which makes the daemon answer what the first delivery did; a call without
// one is repeated only if nothing can have been written, or if it does no harm twice.

type retryPolicy struct {
	// Attempts a call, the first included.
	attemptsMax int
	// The pause before the n-th retry is drawn from 0 to backoffInitial * 2^(n-1), at most backoffMax.
	backoffInitial, backoffMax time.Duration
	// Of all calls of a client together: a retry has to be earned by so many calls.
	callsPerRetry int
	// How many retries can be saved up; a client begins with these.
	retriesSavedMax int
}

var (
	defaultRetries = retryPolicy{
		attemptsMax:     20,
		backoffInitial:  50 * time.Millisecond,
		backoffMax:      time.Second,
		callsPerRetry:   10,
		retriesSavedMax: 10,
	}
	// Between two attempts of a contended compare-and-set: short, because the winner is done already.
	contention = retryPolicy{backoffInitial: 5 * time.Millisecond, backoffMax: 250 * time.Millisecond}
)

// halvingFloor is what an attempt is not made shorter than for the sake of its successors.
const halvingFloor = 200 * time.Millisecond

// Statuses after which the daemon may have received the call, when they come without its ErrorInfo: from the transport, or
// from this client's own timer.
var outcomeOpenCodes = []codes.Code{
	codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal,
}

// The daemon's definite answers: with the same request id they are about the first delivery as well.
var definiteCodes = []codes.Code{codes.Aborted, codes.InvalidArgument, codes.FailedPrecondition, codes.NotFound}

// budget is what a client may still retry: a bucket that every call fills a little and every retry takes from.
//
// A daemon in trouble then gets a tenth more calls from its clients, not a multiple of them. An attempt that found no
// daemon to connect to is no burden for anybody, and costs nothing: a restart is waited for.
type budget struct {
	price, full int

	mu   sync.Mutex
	left int
}

func newBudget(policy retryPolicy) *budget {
	full := policy.callsPerRetry * policy.retriesSavedMax
	return &budget{price: policy.callsPerRetry, full: full, left: full}
}

// earn notes that a call was made.
func (b *budget) earn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(b.left+1, b.full)
}

// allows says whether there is a retry left.
func (b *budget) allows() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.left >= b.price
}

// spend takes the retry of an attempt that failed so, if there is one left.
func (b *budget) spend(after *Error) bool {
	if neverSent(after) {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < b.price {
		return false
	}
	b.left -= b.price
	return true
}

// backoff is the pause after the attempt-th attempt (1: the first): exponential, full jitter; random is from [0, 1).
//
// Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog (2015).
func (p retryPolicy) backoff(attempt int, random float64) time.Duration {
	ceiling := math.Min(float64(p.backoffMax), float64(p.backoffInitial)*math.Exp2(float64(attempt-1)))
	return time.Duration(random * ceiling)
}

// attemptTimeout is the time that the attempt-th attempt may take.
//
// A call that splits (a write with a request id) leaves half of what remains to its successors: a reply that was lost on a
// connection that stays up is seen only by time running out, and the repetition needs time to learn the truth.
func (p retryPolicy) attemptTimeout(remaining time.Duration, attempt int, splits bool) time.Duration {
	if !splits || attempt >= p.attemptsMax || remaining <= halvingFloor {
		return remaining
	}
	return remaining / 2
}

// pauseBeforeRetry is how long to wait before the next attempt; false: the attempt-th was the last. It waits at least as
// long as the daemon asked for, and never into the deadline.
func (p retryPolicy) pauseBeforeRetry(
	after *Error, attempt int, remaining time.Duration, harmless bool, random float64,
) (time.Duration, bool) {
	if attempt >= p.attemptsMax || !repeatable(after, harmless) {
		return 0, false
	}
	pause := after.RetryAfter + p.backoff(attempt, random)
	return pause, pause < remaining
}

// neverSent says whether there was no connection to send it on: no daemon has heard of it.
func neverSent(e *Error) bool {
	return e.unsent && e.Code == codes.Unavailable && e.Reason == ""
}

// outcomeOpen says whether a write that ended so may have landed.
func outcomeOpen(e *Error) bool {
	if errors.Is(e, ErrWriteOutcomeUnknown) {
		return true
	}
	return !e.unsent && e.Reason == "" && slices.Contains(outcomeOpenCodes, e.Code)
}

// repeatable says whether the same call, sent again, may do better and, if it is harmless twice, cannot do harm.
func repeatable(e *Error, harmless bool) bool {
	if !harmless && outcomeOpen(e) {
		return false
	}
	switch e.Code {
	case codes.Unavailable:
		switch e.Reason {
		case passthrough:
			return false // The daemon knows that its authority is away; whether to wait is the caller's choice
		case "AUTHORITY_UNAVAILABLE":
			return e.RetryAfter > 0
		}
		return true
	case codes.ResourceExhausted:
		return e.Reason == queueFull
	case codes.DeadlineExceeded:
		return true
	case codes.Unknown, codes.Canceled, codes.Internal:
		return outcomeOpen(e)
	}
	return false
}

// outcomeUnknown says whether a write that ended with e has an unknown outcome.
//
// openBefore: an earlier attempt may have landed. Then only a definite answer of the daemon is believed, because what says
// that nothing was written says so of its own attempt only. EPOCH_CHANGED is none: what the earlier attempt found was
// another epoch.
func outcomeUnknown(e *Error, openBefore bool) bool {
	definite := slices.Contains(definiteCodes, e.Code) && e.Reason != epochChanged
	return outcomeOpen(e) || openBefore && !definite
}
