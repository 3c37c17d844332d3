// Package statesidecar is the Go client of state-sidecar: memory for model servers, one local call away.
//
// [Load], [Session.Save] and [Update] work on a JSON state by compare-and-set. [Client] has the generated stubs of every
// service, behind a connection that retries, makes writes idempotent and reads its own writes.
package statesidecar

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	pb "statesidecar.internal/statesidecar/v1"
)

// DefaultTarget is where a daemon without configuration listens.
const DefaultTarget = "127.0.0.1:7420"

const (
	targetVariable = "STATE_SIDECAR_TARGET"
	defaultTimeout = 5 * time.Second
	// A value of 64 MiB, and what travels with it.
	messageBytesMax = 65 << 20
)

// Options say how to reach the daemon. The zero value is right beside one.
type Options struct {
	// Target is host:port or unix:///path. Empty: $STATE_SIDECAR_TARGET, else DefaultTarget.
	Target string
	// TLS is how the daemon proves itself and, with certificates, the caller. Nil: no TLS.
	TLS *tls.Config
	// Token gives the bearer token of each attempt; [TokenFile] is one. It is refused where it would cross a network in
	// plain text. Nil: none.
	Token func(context.Context) (string, error)
	// Timeout is the time of a call with all its retries, where its context has no deadline. 0: 5 s.
	Timeout time.Duration
}

// Client reaches the daemon beside this process. Goroutines may share one.
//
// Unary calls of its stubs are retried until their context's deadline; a write without a request id gets one, the same in
// all its retries, so it takes effect at most once; a cached read without a floor is no older than what this client has
// seen of the key. Streams begin once, and are the caller's to resume. All errors are an *[Error].
type Client struct {
	State  pb.StateServiceClient
	Outbox pb.OutboxServiceClient
	Admin  pb.AdminServiceClient

	target string
	pool   *pool
}

// New makes a client. It connects at its first call.
func New(options Options) (*Client, error) {
	target := cmp.Or(options.Target, os.Getenv(targetVariable), DefaultTarget)
	if options.Token != nil && options.TLS == nil && !local(target) {
		return nil, invalid("TOKEN_IN_PLAIN_TEXT", "a token for "+target+" needs TLS")
	}
	connections, err := newPool(func() (*grpc.ClientConn, error) {
		return grpc.NewClient(target, dialOptions(options)...)
	})
	if err != nil {
		return nil, invalid("TARGET_INVALID", err.Error())
	}
	calls := &caller{
		pool:    connections,
		timeout: cmp.Or(options.Timeout, defaultTimeout),
		budget:  newBudget(defaultRetries),
		floors:  newFloors(floorsMax),
	}
	return &Client{
		State:  pb.NewStateServiceClient(calls),
		Outbox: pb.NewOutboxServiceClient(calls),
		Admin:  pb.NewAdminServiceClient(calls),
		target: target,
		pool:   connections,
	}, nil
}

// Target is where the client calls.
func (c *Client) Target() string { return c.target }

// Close ends the connection. Calls in flight fail.
func (c *Client) Close() error { return c.pool.close() }

func dialOptions(options Options) []grpc.DialOption {
	transport := insecure.NewCredentials()
	if options.TLS != nil {
		transport = credentials.NewTLS(options.TLS)
	}
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(messageBytesMax), grpc.MaxCallSendMsgSize(messageBytesMax),
		),
		grpc.WithDisableRetry(), // One layer retries, and it is retry.go
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(), // The peer is in the same pod, whatever the environment says about proxies
		grpc.WithStatsHandler(sentHandler{}),
		// A daemon that restarts is back within a second; the library's own minimum is to wait for one, then ever longer.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second,
			},
			MinConnectTimeout: defaultTimeout,
		}),
	}
	if options.Token != nil {
		dial = append(dial, grpc.WithPerRPCCredentials(bearer(options.Token)))
	}
	return dial
}

// local says whether what is sent to target stays on this machine.
func local(target string) bool {
	if strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "unix-abstract:") {
		return true
	}
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

func invalid(reason, message string) *Error {
	return &Error{Reason: reason, Message: message, causes: []error{ErrInvalidRequest}}
}

// bearer sends a token with every attempt; whether it may go in plain text, New has judged.
type bearer func(context.Context) (string, error)

func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b(ctx)
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, errors.New("the token is empty")
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }
