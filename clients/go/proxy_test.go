package statesidecar

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// fault is what happens to a connection of a proxy.
type fault int32

const (
	whole   fault = iota
	silence       // it stays up, and nothing comes over it any more
	cut           // it ends
)

// proxy is a TCP port before the daemon that can lose the reply to a request which was delivered.
type proxy struct {
	target   string
	upstream string

	refusing atomic.Int32 // connections that are ended as soon as they come
	next     atomic.Int32 // the fault of the next reply

	mu    sync.Mutex
	conns []net.Conn
}

func newProxy(t *testing.T, upstream string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{target: listener.Addr().String(), upstream: upstream}
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, conn := range p.conns {
			conn.Close()
		}
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.forward(conn)
		}
	}()
	return p
}

func (p *proxy) forward(down net.Conn) {
	if p.refusing.Add(-1) >= 0 {
		down.Close()
		return
	}
	network, address := "tcp", p.upstream
	if path, isUnix := strings.CutPrefix(p.upstream, "unix://"); isUnix {
		network, address = "unix", path
	}
	up, err := net.Dial(network, address)
	if err != nil {
		down.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, down, up)
	p.mu.Unlock()
	// A reply is lost only once its request went up: before, what comes down may be the answer to nothing.
	var asked, silent atomic.Bool
	go func() {
		defer up.Close()
		pump(down, up, func() bool { asked.Store(p.next.Load() != int32(whole)); return true })
	}()
	defer down.Close()
	pump(up, down, func() bool {
		if asked.Load() {
			switch fault(p.next.Swap(int32(whole))) {
			case silence:
				silent.Store(true)
			case cut:
				return false
			}
		}
		if silent.Load() {
			discard(up)
			return false
		}
		return true
	})
}

// pump copies until one side ends, or forward says no.
func pump(from, to net.Conn, forward func() bool) {
	buffer := make([]byte, 64<<10)
	for {
		count, err := from.Read(buffer)
		if err != nil || !forward() {
			return
		}
		if _, err := to.Write(buffer[:count]); err != nil {
			return
		}
	}
}

func discard(from net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		if _, err := from.Read(buffer); err != nil {
			return
		}
	}
}
