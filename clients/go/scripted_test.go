package statesidecar

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "statesidecar.internal/statesidecar/v1"
)

// scripted is a gRPC server that answers each call by the next of its answers, and keeps what it was sent.
type scripted struct {
	target string

	mu        sync.Mutex
	answers   []func(request proto.Message) error
	got       []proto.Message
	surprises int
}

func script(t *testing.T, answers ...func(proto.Message) error) (*Client, *scripted) {
	t.Helper()
	s := &scripted{answers: answers}
	s.target = serve(t, s.answer)
	client, err := New(Options{Target: s.target})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close()
		if len(s.answers) > 0 || s.surprises > 0 {
			t.Errorf("%d calls never came, %d were not expected", len(s.answers), s.surprises)
		}
	})
	return client, s
}

// serve runs a server on whose every unary call the interceptor has its say; it answers with an empty reply.
func serve(t *testing.T, interceptor grpc.UnaryServerInterceptor, options ...grpc.ServerOption) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(options, grpc.UnaryInterceptor(interceptor))...)
	pb.RegisterStateServiceServer(server, pb.UnimplementedStateServiceServer{})
	pb.RegisterOutboxServiceServer(server, pb.UnimplementedOutboxServiceServer{})
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

var fineReplies = map[string]func() proto.Message{
	pb.StateService_Get_FullMethodName:              func() proto.Message { return &pb.GetResponse{} },
	pb.StateService_BatchGet_FullMethodName:         func() proto.Message { return &pb.BatchGetResponse{} },
	pb.StateService_Set_FullMethodName:              func() proto.Message { return &pb.SetResponse{Version: 7} },
	pb.StateService_CAS_FullMethodName:              func() proto.Message { return &pb.CASResponse{Version: 7} },
	pb.StateService_DeleteCheckpoint_FullMethodName: func() proto.Message { return &pb.DeleteCheckpointResponse{} },
	pb.OutboxService_Redrive_FullMethodName:         func() proto.Message { return &pb.RedriveResponse{} },
}

func (s *scripted) answer(
	_ context.Context, request any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler,
) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, request.(proto.Message))
	if len(s.answers) == 0 {
		s.surprises++
		return nil, status.Error(codes.DataLoss, "a call that the script didn't expect")
	}
	next := s.answers[0]
	s.answers = s.answers[1:]
	err := next(s.got[len(s.got)-1])
	if reply, ok := err.(replying); ok {
		return reply.Message, nil
	}
	if err != nil {
		return nil, err
	}
	return fineReplies[info.FullMethod](), nil
}

func fine(proto.Message) error { return nil }

// replying is a reply in the place of an error.
type replying struct{ proto.Message }

func (replying) Error() string { return "none" }

func replies(reply proto.Message) func(proto.Message) error {
	return func(proto.Message) error { return replying{reply} }
}

// refuses is an answer of the daemon.
func refuses(code codes.Code, reason string, more ...protoadapt.MessageV1) func(proto.Message) error {
	info := &errdetails.ErrorInfo{Reason: reason, Domain: domain, Metadata: map[string]string{"request_id": "theirs"}}
	told, err := status.New(code, "said so").WithDetails(append(more, info)...)
	if err != nil {
		panic(err)
	}
	return func(proto.Message) error { return told.Err() }
}

// breaks is what a transport says.
func breaks(code codes.Code) func(proto.Message) error {
	return func(proto.Message) error { return status.Error(code, "broken") }
}

func TestAWriteIsRepeatedUnderItsRequestID(t *testing.T) {
	wait := &errdetails.RetryInfo{RetryDelay: durationpb.New(30 * time.Millisecond)}
	client, server := script(t,
		refuses(codes.Unavailable, "DRAINING", wait), breaks(codes.Unavailable), breaks(codes.Internal),
		refuses(codes.Unknown, outcomeUnknownText), refuses(codes.ResourceExhausted, "QUEUE_FULL"), fine)
	request := &pb.SetRequest{Namespace: "n", Key: "k", Value: []byte("v"), Labels: map[string]string{"a": "b"}}
	before := proto.Clone(request)
	begun := time.Now()
	if _, err := client.State.Set(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took < 30*time.Millisecond {
		t.Errorf("the daemon asked to wait: %v", took)
	}
	id := server.got[0].(*pb.SetRequest).GetRequestId()
	if len(id) != 32 {
		t.Errorf("a request id: %q", id)
	}
	for _, got := range server.got[1:] {
		if !proto.Equal(got, server.got[0]) {
			t.Errorf("%v is not %v", got, server.got[0])
		}
	}
	if !proto.Equal(request, before) {
		t.Errorf("the caller's message was changed: %v", request)
	}
	server.answers = append(server.answers, fine)
	if _, err := client.State.Set(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if server.got[len(server.got)-1].(*pb.SetRequest).GetRequestId() == id {
		t.Error("another write, another id")
	}
}

func TestAGivenRequestIDIsKept(t *testing.T) {
	client, server := script(t, fine)
	if _, err := client.State.Set(t.Context(), &pb.SetRequest{RequestId: "mine"}); err != nil {
		t.Fatal(err)
	}
	if got := server.got[0].(*pb.SetRequest).GetRequestId(); got != "mine" {
		t.Error(got)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	conflict := &pb.ConflictInfo{Key: "k", ExpectedVersion: 1, CurrentVersion: 9}
	bad := &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
		{Field: "key", Description: "is empty"},
	}}
	wait := &errdetails.RetryInfo{RetryDelay: durationpb.New(time.Minute)}
	for _, each := range []struct {
		answer func(proto.Message) error
		kind   error
		text   string
	}{
		{refuses(codes.Aborted, "VERSION_MISMATCH", conflict), ErrVersionConflict, "VERSION_MISMATCH: said so"},
		{refuses(codes.InvalidArgument, "KEY_INVALID", bad), ErrInvalidRequest, "KEY_INVALID: said so; key: is empty"},
		{refuses(codes.FailedPrecondition, "SCHEMA_TOO_NEW"), ErrFailedPrecondition, "SCHEMA_TOO_NEW: said so"},
		{refuses(codes.OutOfRange, "OUT_OF_RANGE"), ErrWatchExpired, "OUT_OF_RANGE: said so"},
		{refuses(codes.NotFound, "CHECKPOINT_NOT_FOUND"), ErrNotFound, "CHECKPOINT_NOT_FOUND: said so"},
		{refuses(codes.Unavailable, "PASSTHROUGH"), ErrUnavailable, "PASSTHROUGH: said so"},
		{refuses(codes.ResourceExhausted, "QUOTA_EXCEEDED", wait), ErrLimitExceeded, "QUOTA_EXCEEDED: said so"},
		{refuses(codes.Unimplemented, "CAPABILITY_MISSING"), ErrCapabilityMissing, "CAPABILITY_MISSING: said so"},
		{refuses(codes.DataLoss, "ENTRY_CORRUPT"), ErrDataLoss, "ENTRY_CORRUPT: said so"},
		{refuses(codes.Unauthenticated, "TOKEN_INVALID"), ErrUnauthenticated, "TOKEN_INVALID: said so"},
		{refuses(codes.PermissionDenied, "METHOD_DENIED"), ErrPermissionDenied, "METHOD_DENIED: said so"},
		{refuses(codes.Internal, "INTERNAL"), ErrInternal, "INTERNAL: said so"},
	} {
		client, _ := script(t, each.answer)
		_, err := client.State.Set(t.Context(), &pb.SetRequest{Namespace: "n", Key: "k"})
		if !errors.Is(err, each.kind) || err.Error() != "state-sidecar: "+each.text {
			t.Errorf("%v is not: %v", err, each.kind)
		}
		var told *Error
		if !errors.As(err, &told) || told.Code != status.Code(err) || told.Metadata["request_id"] != "theirs" {
			t.Errorf("%+v", told)
		}
		if each.kind == ErrLimitExceeded && told.RetryAfter != time.Minute {
			t.Errorf("%v", told.RetryAfter)
		}
		if each.kind == ErrVersionConflict && !proto.Equal(told.Conflict, conflict) {
			t.Errorf("%v", told.Conflict)
		}
	}
}

func TestWhatIsNotKnownIsSaid(t *testing.T) {
	client, server := script(t, breaks(codes.Unavailable), refuses(codes.FailedPrecondition, epochChanged))
	_, err := client.State.CAS(t.Context(), &pb.CASRequest{Namespace: "n", Key: "k"})
	var unknown *Error
	if !errors.Is(err, ErrWriteOutcomeUnknown) || !errors.As(err, &unknown) {
		t.Fatal(err)
	}
	if sent := server.got[0].(*pb.CASRequest).GetRequestId(); unknown.RequestID != sent {
		t.Errorf("%q was sent, not %q", sent, unknown.RequestID)
	}
}

func TestACancelledWriteIsNotKnownToHaveFailed(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	client, _ := script(t, func(proto.Message) error { cancel(); return status.Error(codes.Internal, "late") })
	_, err := client.State.Set(ctx, &pb.SetRequest{Namespace: "n", Key: "k"})
	if !errors.Is(err, ErrWriteOutcomeUnknown) {
		t.Error(err)
	}
	_, err = client.State.Get(ctx, &pb.GetRequest{Namespace: "n", Key: "k"})
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

func TestWhatIsNoWriteOfItsOwnIDIsNotRepeated(t *testing.T) {
	client, _ := script(t, refuses(codes.Unavailable, "DRAINING"), breaks(codes.Unavailable))
	_, err := client.Outbox.Redrive(t.Context(), &pb.RedriveRequest{Namespace: "n", All: true})
	if !errors.Is(err, ErrWriteOutcomeUnknown) {
		t.Error(err)
	}
}

func TestADeletedCheckpointIsDeletedOnce(t *testing.T) {
	gone := refuses(codes.NotFound, "CHECKPOINT_NOT_FOUND")
	client, _ := script(t, breaks(codes.Unavailable), gone, gone)
	request := &pb.DeleteCheckpointRequest{Namespace: "n", CheckpointId: "c"}
	if _, err := client.State.DeleteCheckpoint(t.Context(), request); err != nil {
		t.Errorf("its first delivery deleted it: %v", err)
	}
	if _, err := client.State.DeleteCheckpoint(t.Context(), request); !errors.Is(err, ErrNotFound) {
		t.Errorf("nobody deleted it: %v", err)
	}
}

func TestReadsCarryTheNewestVersionSeen(t *testing.T) {
	conflict := &pb.ConflictInfo{Key: "k", CurrentVersion: 9}
	client, server := script(t, fine, fine, refuses(codes.Aborted, "VERSION_MISMATCH", conflict), fine, fine, fine, fine,
		refuses(codes.FailedPrecondition, epochChanged), fine, fine, refuses(codes.FailedPrecondition, epochChanged))
	strong := pb.Consistency_CONSISTENCY_STRONG
	get := func(change ...func(*pb.GetRequest)) error {
		request := &pb.GetRequest{Namespace: "n", Key: "k"}
		for _, each := range change {
			each(request)
		}
		_, err := client.State.Get(t.Context(), request)
		return err
	}
	client.State.Set(t.Context(), &pb.SetRequest{Namespace: "n", Key: "k"}) // 7
	get()
	client.State.CAS(t.Context(), &pb.CASRequest{Namespace: "n", Key: "k"}) // loses to 9
	get()
	get(func(r *pb.GetRequest) { r.Consistency = strong })
	get(func(r *pb.GetRequest) { r.MinVersion = 3 })
	client.State.BatchGet(t.Context(), &pb.BatchGetRequest{Namespace: "n", Keys: []string{"other", "k"}})
	get() // another epoch, then without a floor
	get()
	given := get(func(r *pb.GetRequest) { r.MinVersion = 4 })
	if !errors.Is(given, ErrFailedPrecondition) {
		t.Errorf("a floor of the caller's own: %v", given)
	}
	var floors []int64
	for _, got := range server.got {
		switch got := got.(type) {
		case *pb.GetRequest:
			floors = append(floors, got.GetMinVersion())
		case *pb.BatchGetRequest:
			floors = append(floors, got.GetMinVersions()...)
		}
	}
	want := []int64{7, 9, 0, 3, 0, 9, 9, 0, 0, 4}
	if !slices.Equal(floors, want) {
		t.Errorf("%v, not %v", floors, want)
	}
}
