package statesidecar

import (
	"context"
	"os"
	"strings"
	"sync"
	"time"
)

// TokenFile gives the token that a file holds, and reads it again when the file was replaced or changed, as Kubernetes
// does with projected service account tokens.
func TokenFile(path string) func(context.Context) (string, error) {
	file := &tokenFile{path: path}
	return file.token
}

type tokenFile struct {
	path string

	mu       sync.Mutex
	read     os.FileInfo
	modified time.Time
	value    string
}

func (f *tokenFile) token(context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// Looked at before it is read: what is written in between is then read again, not missed.
	now, err := os.Stat(f.path)
	if err != nil {
		return "", err
	}
	if f.read != nil && os.SameFile(f.read, now) && f.modified.Equal(now.ModTime()) && f.read.Size() == now.Size() {
		return f.value, nil
	}
	data, err := os.ReadFile(f.path)
	if err != nil {
		return "", err
	}
	f.read, f.modified, f.value = now, now.ModTime(), strings.TrimSpace(string(data))
	return f.value, nil
}
