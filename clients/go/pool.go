package statesidecar

import (
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// pool holds the one connection of a client, and replaces it when nothing comes over it any more.
//
// A connection may stay up and bring nothing. The kernel notices late or never, so who waited in vain makes a new one,
// unless others have been answered over this one meanwhile: then the daemon was slow, and the connection is not to blame.
// The old one is closed when its last call has ended.
type pool struct {
	dial func() (*grpc.ClientConn, error)

	mu      sync.Mutex
	current *connection
	closed  bool
}

// connection is guarded by its pool's mutex.
type connection struct {
	*grpc.ClientConn
	answers  int
	inFlight int
}

func newPool(dial func() (*grpc.ClientConn, error)) (*pool, error) {
	first, err := dial()
	if err != nil {
		return nil, err
	}
	return &pool{dial: dial, current: &connection{ClientConn: first}}, nil
}

// borrow gives the connection for a call, and how many calls were answered over it before.
func (p *pool) borrow() (*connection, int, *Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, 0, invalid("CLIENT_CLOSED", "the client is closed")
	}
	if p.current == nil {
		made, err := p.dial()
		if err != nil {
			return nil, 0, invalid("TARGET_INVALID", err.Error())
		}
		p.current = &connection{ClientConn: made}
	}
	p.current.inFlight++
	return p.current, p.current.answers, nil
}

// judge notes how a call ended that began after so many answers; nil: with an answer.
func (p *pool) judge(c *connection, before int, failure *Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	silent := failure != nil && failure.Code == codes.DeadlineExceeded && failure.Reason == ""
	if !silent {
		c.answers++
	} else if c.answers == before && p.current == c {
		p.current = nil
	}
}

func (p *pool) giveBack(c *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.inFlight--
	if c != p.current && c.inFlight == 0 {
		c.Close() // Its calls have ended, so there is nothing that its error could be about
	}
}

func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	last := p.current
	p.current = nil
	if last == nil {
		return nil
	}
	return last.Close()
}
