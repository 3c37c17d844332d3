package statesidecar

import (
	"container/list"
	"sync"
)

const floorsMax = 10_000

// floors remembers the newest version seen of each key. They are sent with reads, so that a client reads its own writes
// through any sidecar. A forgotten key costs a possibly older read, never a wrong one.
type floors struct {
	mu    sync.Mutex
	max   int
	known map[floorKey]*list.Element
	used  *list.List // of *floor, the last used in front
}

type floorKey struct{ namespace, key string }

type floor struct {
	floorKey
	version int64
}

func newFloors(max int) *floors {
	return &floors{max: max, known: make(map[floorKey]*list.Element), used: list.New()}
}

// observe remembers a version unless a newer one is known. 0 is no version.
func (f *floors) observe(namespace, key string, version int64) {
	if version <= 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	name := floorKey{namespace, key}
	if element, found := f.known[name]; found {
		known := element.Value.(*floor)
		known.version = max(known.version, version)
		f.used.MoveToFront(element)
		return
	}
	f.known[name] = f.used.PushFront(&floor{name, version})
	if f.used.Len() > f.max {
		oldest := f.used.Remove(f.used.Back()).(*floor)
		delete(f.known, oldest.floorKey)
	}
}

// get is the newest version seen. 0: none.
func (f *floors) get(namespace, key string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if element, found := f.known[floorKey{namespace, key}]; found {
		return element.Value.(*floor).version
	}
	return 0
}

// forget drops what is known, where the authority has gone back in time.
func (f *floors) forget(namespace, key string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := floorKey{namespace, key}
	if element, found := f.known[name]; found {
		f.used.Remove(element)
		delete(f.known, name)
	}
}
