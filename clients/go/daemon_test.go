package statesidecar

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	pb "statesidecar.internal/statesidecar/v1"
)

// These tests call the daemon that STATE_SIDECAR_TARGET names; `make test` starts one.

func daemon(t *testing.T) string {
	t.Helper()
	target := os.Getenv(targetVariable)
	if target == "" {
		t.Fatal(targetVariable + " names no daemon to test against")
	}
	return target
}

func connect(t *testing.T, options Options) *Client {
	t.Helper()
	client, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// beside is a client of the daemon, and a key that no other test has.
func beside(t *testing.T) (*Client, string) {
	t.Helper()
	return connect(t, Options{Target: daemon(t)}), newRequestID()
}

type chat struct {
	Turns []string          `json:"turns"`
	Slots map[string]string `json:"slots,omitempty"`
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestASessionIsLoadedAndSaved(t *testing.T) {
	client, key := beside(t)
	loaded := must[*Session[chat]](t)
	s := loaded(Load[chat](t.Context(), client, "session", key))
	if err := s.Save(t.Context()); err != nil || s.Version != 0 {
		t.Fatalf("nothing changed, and nothing is saved: %d %v", s.Version, err)
	}
	for _, turn := range []string{"hello", "<world> & ä"} {
		s.State.Turns = append(s.State.Turns, turn)
		before := s.Version
		if err := s.Save(t.Context()); err != nil || s.Version <= before {
			t.Fatalf("%d after %d: %v", s.Version, before, err)
		}
		if s.Durability != pb.Durability_DURABILITY_COMMITTED {
			t.Error(s.Durability)
		}
	}
	for _, options := range [][]SessionOption{nil, {WithStrong()}} {
		again := loaded(Load[chat](t.Context(), client, "session", key, options...))
		if again.Version != s.Version || len(again.State.Turns) != 2 || again.State.Turns[1] != "<world> & ä" {
			t.Errorf("%+v", again.State)
		}
	}
	found := must[*pb.GetResponse](t)(client.State.Get(t.Context(), &pb.GetRequest{Namespace: "session", Key: key}))
	if entry := found.GetEntry(); entry.GetContentType() != jsonContentType || entry.GetExpireTime() == nil {
		t.Errorf("%v", entry)
	}
}

func TestWhoWasSlowerLoses(t *testing.T) {
	client, key := beside(t)
	first := must[*Session[chat]](t)(Load[chat](t.Context(), client, "process", key))
	second := must[*Session[chat]](t)(Load[chat](t.Context(), client, "process", key))
	first.State.Turns, second.State.Turns = []string{"first"}, []string{"second"}
	if err := first.Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := second.Save(t.Context())
	var lost *Error
	if !errors.Is(err, ErrVersionConflict) || !errors.As(err, &lost) || lost.Reason != "VERSION_MISMATCH" {
		t.Fatal(err)
	}
	if lost.Conflict.GetKey() != key || lost.Conflict.GetCurrentVersion() != first.Version {
		t.Errorf("%v", lost.Conflict)
	}
}

func TestNoUpdateIsLost(t *testing.T) {
	const writers, updates = 4, 15
	_, key := beside(t)
	var group sync.WaitGroup
	for range writers {
		client := connect(t, Options{Target: daemon(t)})
		group.Go(func() {
			for range updates {
				_, err := Update(t.Context(), client, "process", key, func(s *Session[map[string]int]) error {
					if s.State == nil {
						s.State = map[string]int{}
					}
					s.State["count"]++
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	client := connect(t, Options{Target: daemon(t)})
	s := must[*Session[map[string]int]](t)(Load[map[string]int](t.Context(), client, "process", key, WithStrong()))
	if s.State["count"] != writers*updates {
		t.Errorf("%v of %d", s.State, writers*updates)
	}
}

func TestAnUpdateThatFailsOrDoesNothingSavesNothing(t *testing.T) {
	client, key := beside(t)
	mine := errors.New("mine")
	for _, result := range []error{mine, nil} {
		s, err := Update(t.Context(), client, "process", key, func(s *Session[chat]) error {
			if result != nil {
				s.State.Turns = []string{"not saved"}
			}
			return result
		})
		if err != result || s.Version != 0 {
			t.Errorf("%v %+v", err, s)
		}
	}
}

func TestWhatATypeHasNoFieldForStays(t *testing.T) {
	client, key := beside(t)
	stored := `{"slots":{"city":"Oslo"},"turns":["a"],"newer":{"big":9007199254740993}}`
	must[*pb.SetResponse](t)(client.State.Set(t.Context(), &pb.SetRequest{
		Namespace: "process", Key: key, Value: []byte(stored), SchemaVersion: 3,
	}))
	must[*Session[chat]](t)(Update(t.Context(), client, "process", key, func(s *Session[chat]) error {
		s.State.Turns = append(s.State.Turns, "b")
		return nil
	}))
	found := must[*pb.GetResponse](t)(client.State.Get(t.Context(), &pb.GetRequest{Namespace: "process", Key: key}))
	want := `{"newer":{"big":9007199254740993},"slots":{"city":"Oslo"},"turns":["a","b"]}`
	if entry := found.GetEntry(); string(entry.GetValue()) != want || entry.GetSchemaVersion() != 3 {
		t.Errorf("%v", entry)
	}
}

func TestWhatDoesNotFitIsSaid(t *testing.T) {
	client, key := beside(t)
	for _, value := range []string{"no json", `{"turns":7}`} {
		must[*pb.SetResponse](t)(client.State.Set(t.Context(), &pb.SetRequest{
			Namespace: "process", Key: key, Value: []byte(value),
		}))
		_, err := Load[chat](t.Context(), client, "process", key)
		var told *Error
		if !errors.Is(err, ErrFailedPrecondition) || !errors.As(err, &told) || told.Reason != notJSON {
			t.Error(err)
		}
	}
}

func TestMessagesGoWithASave(t *testing.T) {
	client, key := beside(t)
	namespace := "outbox-" + key
	s := must[*Session[chat]](t)(Load[chat](t.Context(), client, namespace, key))
	s.Outbox = []*pb.OutboxMessage{{Topic: "said", Payload: []byte("hello")}}
	if err := s.Save(t.Context()); err != nil || len(s.Outbox) != 0 || s.Version == 0 {
		t.Fatalf("%+v %v", s, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := client.Outbox.Consume(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&pb.ConsumeRequest{Namespace: namespace}); err != nil {
		t.Fatal(err)
	}
	batch, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	message := batch.GetMessages()[0]
	if string(message.GetMessage().GetPayload()) != "hello" || message.GetVersion() != s.Version {
		t.Errorf("%v", message)
	}
	if err := stream.Send(&pb.ConsumeRequest{AcknowledgedIds: []string{message.GetId()}}); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != io.EOF {
		t.Error(err)
	}
}

func TestAStreamHasErrorsOfThisPackageAndGivesItsConnectionBack(t *testing.T) {
	client, key := beside(t)
	stream, err := client.State.Watch(t.Context(), &pb.WatchRequest{Namespace: "process", Key: key, ResumeToken: "none"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	var told *Error
	if !errors.Is(err, ErrInvalidRequest) || !errors.As(err, &told) || told.Reason != "RESUME_TOKEN_INVALID" {
		t.Error(err)
	}
	for client.pool.calls() > 0 && t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
}

func (p *pool) calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current.inFlight
}

func TestALostReplyIsAskedForAgain(t *testing.T) {
	for name, lost := range map[string]fault{"cut": cut, "silence": silence} {
		t.Run(name, func(t *testing.T) {
			front := newProxy(t, daemon(t))
			client := connect(t, Options{Target: front.target, Timeout: 3 * time.Second})
			add := func() []byte {
				return must[*pb.UpdateResponse](t)(client.State.Update(t.Context(), &pb.UpdateRequest{
					Namespace: "process", Key: front.target, Create: true, ReturnValue: true,
					Operation: &pb.UpdateRequest_Increment{Increment: &pb.Increment{Delta: 1}},
				})).GetValue()
			}
			first := add()
			front.next.Store(int32(lost))
			second := add()
			if front.next.Load() != int32(whole) || string(first) != "1" || string(second) != "2" {
				t.Errorf("%s, then %s", first, second)
			}
		})
	}
}

func TestASaveOfUnknownOutcomeIsSettledByTheNext(t *testing.T) {
	front := newProxy(t, daemon(t))
	client, key := connect(t, Options{Target: front.target}), newRequestID()
	s := must[*Session[chat]](t)(Load[chat](t.Context(), client, "process", key))
	s.State.Turns = []string{"one"}
	front.next.Store(int32(silence))
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond) // Too short to be halved
	defer cancel()
	if err := s.Save(ctx); !errors.Is(err, ErrWriteOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	s.State.Turns = append(s.State.Turns, "two")
	if err := s.Save(t.Context()); err != nil {
		t.Fatalf("it lost to itself: %v", err)
	}
	again := must[*Session[chat]](t)(Load[chat](t.Context(), client, "process", key))
	if len(again.State.Turns) != 2 || again.Version != s.Version {
		t.Errorf("%+v", again)
	}
}

func TestARestartIsWaitedFor(t *testing.T) {
	front := newProxy(t, daemon(t))
	front.refusing.Store(3)
	client := connect(t, Options{Target: front.target, Timeout: 20 * time.Second})
	request := &pb.RedriveRequest{Namespace: "outbox-none", All: true} // Never repeated if it might have landed
	if _, err := client.Outbox.Redrive(t.Context(), request); err != nil {
		t.Error(err)
	}
	if left := front.refusing.Load(); left >= 0 {
		t.Errorf("%d connections were not even tried", left)
	}
	if client.pool.current == nil {
		t.Error("the connection was given up")
	}
}
