package statesidecar

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

func failed(code codes.Code, reason string, change ...func(*Error)) *Error {
	e := &Error{Code: code, Reason: reason, causes: []error{kindOf(code, reason)}}
	for _, each := range change {
		each(e)
	}
	return e
}

func neverLeft(e *Error) { e.unsent = true }

func askedToWait(e *Error) { e.RetryAfter = time.Second }

func TestWhatIsRepeated(t *testing.T) {
	for _, each := range []struct {
		failure         *Error
		harmless, other bool
	}{
		{failed(codes.Unavailable, ""), true, false},
		{failed(codes.Unavailable, "", neverLeft), true, true},
		{failed(codes.Unavailable, "DRAINING"), true, true},
		{failed(codes.Unavailable, "PASSTHROUGH"), false, false},
		{failed(codes.Unavailable, "AUTHORITY_UNAVAILABLE"), false, false},
		{failed(codes.Unavailable, "AUTHORITY_UNAVAILABLE", askedToWait), true, true},
		{failed(codes.ResourceExhausted, "QUEUE_FULL"), true, true},
		{failed(codes.ResourceExhausted, "QUOTA_EXCEEDED"), false, false},
		{failed(codes.ResourceExhausted, ""), false, false},
		{failed(codes.DeadlineExceeded, ""), true, false},
		{failed(codes.DeadlineExceeded, "DEADLINE_EXCEEDED"), true, true},
		{failed(codes.DeadlineExceeded, "WRITE_OUTCOME_UNKNOWN"), true, false},
		{failed(codes.Unknown, "WRITE_OUTCOME_UNKNOWN"), true, false},
		{failed(codes.Unknown, ""), true, false},
		{failed(codes.Internal, ""), true, false},
		{failed(codes.Internal, "INTERNAL"), false, false},
		{failed(codes.Canceled, ""), true, false},
		{failed(codes.Aborted, "VERSION_MISMATCH"), false, false},
		{failed(codes.FailedPrecondition, "EPOCH_CHANGED"), false, false},
		{failed(codes.InvalidArgument, "KEY_INVALID"), false, false},
		{failed(codes.Unauthenticated, "TOKEN_INVALID"), false, false},
		{failed(codes.DataLoss, "ENTRY_CORRUPT"), false, false},
	} {
		t.Run(fmt.Sprintf("%v %s %v", each.failure.Code, each.failure.Reason, each.failure.unsent), func(t *testing.T) {
			if got := repeatable(each.failure, true); got != each.harmless {
				t.Errorf("harmless: %v", got)
			}
			if got := repeatable(each.failure, false); got != each.other {
				t.Errorf("other: %v", got)
			}
		})
	}
}

func TestOnlyADefiniteAnswerSettlesAnOpenWrite(t *testing.T) {
	for _, each := range []struct {
		failure       *Error
		before, after bool
	}{
		{failed(codes.Unavailable, ""), true, true},
		{failed(codes.Unavailable, "", neverLeft), false, true},
		{failed(codes.Unavailable, "DRAINING"), false, true},
		{failed(codes.Aborted, "VERSION_MISMATCH"), false, false},
		{failed(codes.InvalidArgument, "REQUEST_ID_REUSED"), false, false},
		{failed(codes.FailedPrecondition, "NOT_JSON"), false, false},
		{failed(codes.FailedPrecondition, "EPOCH_CHANGED"), false, true},
		{failed(codes.ResourceExhausted, "QUEUE_FULL"), false, true},
		{failed(codes.Unknown, "WRITE_OUTCOME_UNKNOWN"), true, true},
	} {
		if outcomeUnknown(each.failure, false) != each.before || outcomeUnknown(each.failure, true) != each.after {
			t.Errorf("%v %s", each.failure.Code, each.failure.Reason)
		}
	}
}

func TestPauses(t *testing.T) {
	for attempt, ceiling := range map[int]time.Duration{
		1: 50 * time.Millisecond, 2: 100 * time.Millisecond, 5: 800 * time.Millisecond, 6: time.Second, 5000: time.Second,
	} {
		if got := defaultRetries.backoff(attempt, 0.5); got != ceiling/2 {
			t.Errorf("attempt %d: %v", attempt, got)
		}
	}
	asked := failed(codes.Unavailable, "DRAINING", askedToWait)
	if pause, again := defaultRetries.pauseBeforeRetry(asked, 1, 2*time.Second, true, 0); pause != time.Second || !again {
		t.Errorf("the daemon's wish: %v %v", pause, again)
	}
	if _, again := defaultRetries.pauseBeforeRetry(asked, 1, time.Second, true, 0); again {
		t.Error("a pause into the deadline")
	}
	if _, again := defaultRetries.pauseBeforeRetry(asked, 20, time.Minute, true, 0); again {
		t.Error("one attempt too many")
	}
}

func TestAWriteLeavesTimeToLearnTheTruth(t *testing.T) {
	for _, each := range []struct {
		remaining time.Duration
		attempt   int
		splits    bool
		want      time.Duration
	}{
		{4 * time.Second, 1, true, 2 * time.Second},
		{4 * time.Second, 1, false, 4 * time.Second},
		{4 * time.Second, 20, true, 4 * time.Second},
		{200 * time.Millisecond, 1, true, 200 * time.Millisecond},
	} {
		if got := defaultRetries.attemptTimeout(each.remaining, each.attempt, each.splits); got != each.want {
			t.Errorf("%+v: %v", each, got)
		}
	}
}

func TestRetriesAreATenthOfTheCalls(t *testing.T) {
	bucket := newBudget(defaultRetries)
	answered := failed(codes.Unavailable, "DRAINING")
	retries := 0
	for range 1000 {
		bucket.earn()
		for bucket.spend(answered) {
			retries++
		}
	}
	if retries < 100 || retries > 110 {
		t.Errorf("%d retries of 1000 calls", retries)
	}
	if bucket.allows() || !bucket.spend(failed(codes.Unavailable, "", neverLeft)) {
		t.Error("waiting for a restart costs nothing, all else does")
	}
}
