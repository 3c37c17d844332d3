package statesidecar

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "statesidecar.internal/statesidecar/v1"
)

const (
	jsonContentType = "application/json"
	lossesMax       = 100
)

// Session is a JSON state while it is worked on. It is for one goroutine.
type Session[T any] struct {
	// State is changed or assigned. Of an absent key it is the zero value.
	State T
	// Outbox are messages to commit with the next save, which is then made also if the state is unchanged.
	Outbox []*pb.OutboxMessage
	// Version was loaded, or saved. 0: the state is new.
	Version int64
	// Durability is what became of the last save. UNSPECIFIED: there was none.
	Durability pb.Durability

	client         *Client
	namespace, key string
	config         sessionConfig
	schema         uint32
	stored         any // the document, with what T has no field for; nil: there is none
	base           any // State as it was loaded or saved
	unsettled      *commit
}

// commit is a save under way.
type commit struct {
	request        *pb.CASRequest
	document, base any
}

type sessionConfig struct {
	ttl    *durationpb.Duration
	schema uint32
	strong bool
}

// SessionOption changes how a state is loaded and saved.
type SessionOption func(*sessionConfig)

// WithTTL gives a saved state so long to live, from the save. Without: as the namespace says.
func WithTTL(ttl time.Duration) SessionOption {
	return func(c *sessionConfig) { c.ttl = durationpb.New(ttl) }
}

// WithSchema names the schema that T is of: the state is loaded and saved in it, and what newer ones have stays. Without:
// in whichever it is.
func WithSchema(version uint32) SessionOption {
	return func(c *sessionConfig) { c.schema = version }
}

// WithStrong loads from the authority, not from a copy. A client sees its own writes without.
func WithStrong() SessionOption {
	return func(c *sessionConfig) { c.strong = true }
}

// Load reads a state with its version. Errors, beside those of every call: ErrUnavailable (PASSTHROUGH) while the authority
// is away, ErrFailedPrecondition (NOT_JSON) if what is stored doesn't fit T.
func Load[T any](
	ctx context.Context, client *Client, namespace, key string, options ...SessionOption,
) (*Session[T], error) {
	var config sessionConfig
	for _, option := range options {
		option(&config)
	}
	return load[T](ctx, client, namespace, key, config)
}

func load[T any](ctx context.Context, client *Client, namespace, key string, config sessionConfig) (*Session[T], error) {
	consistency := pb.Consistency_CONSISTENCY_CACHED
	if config.strong {
		consistency = pb.Consistency_CONSISTENCY_STRONG
	}
	found, err := client.State.Get(ctx, &pb.GetRequest{
		Namespace: namespace, Key: key, Consistency: consistency, MaxSchemaVersion: config.schema,
	})
	if err != nil {
		return nil, err
	}
	if found.GetMode() == pb.ServingMode_SERVING_MODE_PASSTHROUGH {
		return nil, &Error{
			Code: codes.Unavailable, Reason: passthrough, Message: "the authority is away: the state was not read",
			causes: []error{ErrUnavailable},
		}
	}
	entry := found.GetEntry()
	s := &Session[T]{client: client, namespace: namespace, key: key, config: config, Version: entry.GetVersion()}
	s.schema = config.schema
	if s.schema == 0 {
		s.schema = entry.GetSchemaVersion()
	}
	if entry != nil {
		if s.stored, err = decode(entry.GetValue()); err == nil {
			err = json.Unmarshal(entry.GetValue(), &s.State)
		}
		if err != nil {
			return nil, &Error{
				Reason: notJSON, Message: "the stored value does not fit: " + err.Error(),
				causes: []error{ErrFailedPrecondition, err},
			}
		}
	}
	s.base, err = canonical(s.State)
	return s, err
}

// Save writes the state, if it changed or there are messages, unless another writer was faster (ErrVersionConflict).
//
// What T has no field for stays as it was stored, in objects; a list is saved as T has it. After ErrWriteOutcomeUnknown the
// next Save learns what became of this one before it writes anything else.
func (s *Session[T]) Save(ctx context.Context) error {
	if s.unsettled != nil {
		if err := s.commit(ctx, s.unsettled); err != nil {
			return err
		}
	}
	mine, err := canonical(s.State)
	if err != nil {
		return err
	}
	if same(mine, s.base) && len(s.Outbox) == 0 {
		return nil
	}
	document := overlay(s.stored, s.base, mine)
	value, err := encode(document)
	if err != nil {
		return err
	}
	request := &pb.CASRequest{
		Namespace: s.namespace, Key: s.key, Value: value, ExpectedVersion: s.Version, ContentType: jsonContentType,
		SchemaVersion: s.schema, Ttl: s.config.ttl, Outbox: s.Outbox[:len(s.Outbox):len(s.Outbox)],
		RequestId: newRequestID(),
	}
	return s.commit(ctx, &commit{request: request, document: document, base: mine})
}

func (s *Session[T]) commit(ctx context.Context, made *commit) error {
	s.unsettled = nil
	written, err := s.client.State.CAS(ctx, made.request)
	if errors.Is(err, ErrWriteOutcomeUnknown) {
		s.unsettled = made
	}
	if err != nil {
		return err
	}
	s.Version, s.Durability = written.GetVersion(), written.GetDurability()
	s.stored, s.base = made.document, made.base
	s.Outbox = s.Outbox[len(made.request.GetOutbox()):]
	return nil
}

// Update loads a state, lets change work on it and saves it, again and again until no other writer was faster, at most a
// hundred times. change may run more than once, so it should do nothing else; its error ends the update, and nothing is
// saved. A state that is left as it was is not written.
//
// The session is as it was saved; it comes with an error, too, where one was loaded.
func Update[T any](
	ctx context.Context, client *Client, namespace, key string, change func(*Session[T]) error, options ...SessionOption,
) (*Session[T], error) {
	var config sessionConfig
	for _, option := range options {
		option(&config)
	}
	for losses := 0; ; {
		s, err := load[T](ctx, client, namespace, key, config)
		if err != nil {
			return nil, err
		}
		if err := change(s); err != nil {
			return s, err
		}
		loaded := s.Version
		err = s.Save(ctx)
		switch {
		case err == nil && (s.Version != loaded || config.strong):
			return s, nil
		case err == nil: // Nothing to do: true only of the newest state
		case lost(err) && losses+1 < lossesMax && ctx.Err() == nil:
			losses++
			rest(ctx, contention.backoff(losses, rand.Float64()))
		default:
			return s, err
		}
		config.strong = true
	}
}

// lost says whether a save can be tried again on a newer state; of another epoch is newer, too.
func lost(err error) bool {
	var e *Error
	return errors.Is(err, ErrVersionConflict) || errors.As(err, &e) && e.Reason == epochChanged
}
