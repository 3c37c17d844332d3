package statesidecar

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "statesidecar.internal/statesidecar/v1"
)

// caller is the connection that the stubs call over: it sends a request until it is answered or may not be sent again,
// within its deadline, and remembers versions.
type caller struct {
	pool    *pool
	timeout time.Duration
	budget  *budget
	floors  *floors
}

// Methods that change something, have no request id, and do no harm twice. The second finds deleted what it deleted.
var harmlessMethods = map[string]bool{
	pb.StateService_Touch_FullMethodName:            true,
	pb.StateService_DeleteCheckpoint_FullMethodName: true,
}

// rpc is one unary call of a stub.
type rpc struct {
	method  string
	request proto.Message
	reply   any
	options []grpc.CallOption

	// Of a write that the daemon knows again. Empty: of anything else.
	requestID string
	// Whether the call writes: then what became of it may be unknown.
	writes bool
	// Whether it does no harm when it is sent again after it landed.
	harmless bool
}

// Invoke is what the stubs call; see [Client].
func (c *caller) Invoke(ctx context.Context, method string, args, reply any, options ...grpc.CallOption) error {
	request, ok := args.(proto.Message)
	if !ok {
		return invalid("REQUEST_MALFORMED", fmt.Sprintf("%T is no message", args))
	}
	if _, bounded := ctx.Deadline(); !bounded {
		timed, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		ctx = timed
	}
	failure := c.send(ctx, newRPC(method, c.floored(request), reply, options))
	if failure != nil && failure.Reason == epochChanged && c.forget(request) {
		failure = c.send(ctx, newRPC(method, request, reply, options))
	}
	if failure != nil {
		c.observeConflict(request, failure)
		return failure
	}
	c.observe(request, reply)
	return nil
}

// NewStream begins a stream: it is not resumed when it breaks.
func (c *caller) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	connection, _, failure := c.pool.borrow()
	if failure != nil {
		return nil, failure
	}
	stream, err := connection.NewStream(ctx, desc, method, options...)
	if err != nil {
		c.pool.giveBack(connection)
		return nil, errorOf(ctx, err, false)
	}
	// The library ends a stream's context with the stream.
	context.AfterFunc(stream.Context(), func() { c.pool.giveBack(connection) })
	return &typedStream{ClientStream: stream, ctx: ctx}, nil
}

// typedStream is a stream whose errors are of this package; io.EOF stays what it is.
type typedStream struct {
	grpc.ClientStream
	ctx context.Context
}

func (s *typedStream) SendMsg(message any) error { return s.typed(s.ClientStream.SendMsg(message)) }
func (s *typedStream) RecvMsg(message any) error { return s.typed(s.ClientStream.RecvMsg(message)) }

func (s *typedStream) typed(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return errorOf(s.ctx, err, true)
}

// newRPC says how a request may be sent. A write without a request id gets one, on a copy: the caller may send its message
// again, and means another write then.
func newRPC(method string, request proto.Message, reply any, options []grpc.CallOption) *rpc {
	call := &rpc{method: method, request: request, reply: reply, options: options, harmless: true}
	message := request.ProtoReflect()
	if field := message.Descriptor().Fields().ByName("request_id"); field != nil {
		call.writes = true
		call.requestID = message.Get(field).String()
		if call.requestID == "" {
			call.requestID = newRequestID()
			call.request = with(request, field, protoreflect.ValueOfString(call.requestID))
		}
		return call
	}
	if !readOnly[method] {
		call.writes = method != pb.StateService_Touch_FullMethodName
		call.harmless = harmlessMethods[method]
	}
	return call
}

// send returns nil when the reply is there.
func (c *caller) send(ctx context.Context, call *rpc) *Error {
	deadline, _ := ctx.Deadline()
	maybeLanded := false
	c.budget.earn()
	for attempt := 1; ; attempt++ {
		splits := call.requestID != "" && c.budget.allows()
		timeout := defaultRetries.attemptTimeout(time.Until(deadline), attempt, splits)
		failure := c.attempt(ctx, call, timeout)
		if failure == nil {
			return nil
		}
		deletes := call.method == pb.StateService_DeleteCheckpoint_FullMethodName
		if deletes && maybeLanded && errors.Is(failure, ErrNotFound) {
			return nil
		}
		pause, again := defaultRetries.pauseBeforeRetry(
			failure, attempt, time.Until(deadline), call.harmless, mathrand.Float64(),
		)
		if !again || !c.budget.spend(failure) {
			if call.writes && outcomeUnknown(failure, maybeLanded) {
				return unknownOutcome(failure, call.requestID)
			}
			return failure
		}
		maybeLanded = maybeLanded || outcomeOpen(failure)
		rest(ctx, pause)
	}
}

func (c *caller) attempt(ctx context.Context, call *rpc, timeout time.Duration) *Error {
	connection, answers, failure := c.pool.borrow()
	if failure != nil {
		return failure
	}
	defer c.pool.giveBack(connection)
	sent := new(atomic.Bool)
	timed, cancel := context.WithTimeout(context.WithValue(ctx, sentKey{}, sent), timeout)
	defer cancel()
	if err := connection.Invoke(timed, call.method, call.request, call.reply, call.options...); err != nil {
		failure = errorOf(ctx, err, sent.Load())
	}
	c.pool.judge(connection, answers, failure)
	return failure
}

// rest waits, unless ctx ends before.
func rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// newRequestID is unguessable, and in the order of time: ids of one moment are neighbours in the store's index, as UUIDs of
// version 7.
func newRequestID() string {
	var random [10]byte
	rand.Read(random[:]) // It never fails
	return fmt.Sprintf("%012x%s", time.Now().UnixMilli(), hex.EncodeToString(random[:]))
}

// with is a shallow copy of a message with a field set; the message itself may be shared, and is left alone.
func with(message proto.Message, field protoreflect.FieldDescriptor, value protoreflect.Value) proto.Message {
	from := message.ProtoReflect()
	to := from.New()
	from.Range(func(each protoreflect.FieldDescriptor, held protoreflect.Value) bool {
		to.Set(each, held)
		return true
	})
	to.SetUnknown(from.GetUnknown())
	to.Set(field, value)
	return to.Interface()
}

// sentHandler notes in a call's context that its request has left for the daemon.
type sentHandler struct{}

type sentKey struct{}

func (sentHandler) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (sentHandler) HandleRPC(ctx context.Context, event stats.RPCStats) {
	if _, ok := event.(*stats.OutHeader); !ok {
		return
	}
	if sent, ok := ctx.Value(sentKey{}).(*atomic.Bool); ok {
		sent.Store(true)
	}
}

func (sentHandler) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (sentHandler) HandleConn(context.Context, stats.ConnStats)                       {}
