package statesidecar

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	pb "statesidecar.internal/statesidecar/v1"
)

func TestWhereAClientCalls(t *testing.T) {
	for _, each := range []struct{ given, environment, want string }{
		{"", "", "127.0.0.1:7420"},
		{"", "unix:///run/s.sock", "unix:///run/s.sock"},
		{"10.0.0.1:1", "unix:///run/s.sock", "10.0.0.1:1"},
	} {
		t.Setenv(targetVariable, each.environment)
		client, err := New(Options{Target: each.given})
		if err != nil || client.Target() != each.want {
			t.Errorf("%+v: %v", each, err)
		}
	}
	if _, err := New(Options{Target: "%"}); !errors.Is(err, ErrInvalidRequest) {
		t.Errorf("a target that is none: %v", err)
	}
}

func TestATokenDoesNotCrossANetworkInPlainText(t *testing.T) {
	token := func(context.Context) (string, error) { return "t", nil }
	for target, fine := range map[string]bool{
		"unix:///run/s.sock": true, "127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true,
		"10.0.0.1:1": false, "localhost.evil:1": false, "state.svc:1": false, "dns:///10.0.0.1:1": false,
	} {
		if _, err := New(Options{Target: target, Token: token}); (err == nil) != fine {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestATokenFileIsReadAgainWhenItIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	token := TokenFile(path)
	if _, err := token(t.Context()); err == nil {
		t.Error("there is no file")
	}
	for _, value := range []string{"first", "other"} {
		if err := os.WriteFile(path+".new", []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, err := token(t.Context()); got != value || err != nil {
				t.Errorf("%q %v", got, err)
			}
		}
	}
}

func TestFloors(t *testing.T) {
	known := newFloors(2)
	known.observe("n", "a", 5)
	known.observe("n", "a", 3)
	known.observe("n", "b", 1)
	known.observe("n", "zero", 0)
	known.observe("n", "a", 4)
	known.observe("n", "c", 7) // b was used longest ago
	for key, want := range map[string]int64{"a": 5, "b": 0, "c": 7, "zero": 0} {
		if got := known.get("n", key); got != want {
			t.Errorf("%s: %d", key, got)
		}
	}
	known.forget("n", "a")
	if known.get("n", "a") != 0 || known.get("other", "c") != 0 || len(known.known) != known.used.Len() {
		t.Error("forgotten, and by namespace")
	}
}

func TestAClosedClientSaysSo(t *testing.T) {
	client, err := New(Options{Target: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	_, err = Load[any](t.Context(), client, "session", "k")
	var closed *Error
	if !errors.As(err, &closed) || closed.Reason != "CLIENT_CLOSED" {
		t.Error(err)
	}
}

func TestNobodyListens(t *testing.T) {
	client, err := New(Options{Target: "unix://" + filepath.Join(t.TempDir(), "none.sock")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = client.State.Set(ctx, &pb.SetRequest{Namespace: "session", Key: "k"})
	if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrDeadlineExceeded) {
		t.Errorf("nothing was sent, so nothing is unknown: %v", err)
	}
}
