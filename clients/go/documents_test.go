package statesidecar

import (
	"fmt"
	"testing"
)

func document(t *testing.T, text string) any {
	t.Helper()
	value, err := decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestOverlay(t *testing.T) {
	for _, each := range []struct{ stored, base, mine, want string }{
		{`{"a":1,"new":2}`, `{"a":1}`, `{"a":3}`, `{"a":3,"new":2}`},
		{`{"a":1,"new":2}`, `{"a":1,"b":0}`, `{"a":1,"b":0}`, `{"a":1,"new":2}`},
		{`{"a":1,"new":2}`, `{"a":1}`, `{}`, `{"new":2}`},
		{`{"a":{"x":1,"new":2}}`, `{"a":{"x":1}}`, `{"a":{"x":2}}`, `{"a":{"new":2,"x":2}}`},
		{`{"a":{"x":1,"new":2}}`, `{"a":{"x":1}}`, `{"a":null}`, `{"a":null}`},
		{`{"a":[1,2]}`, `{"a":[1,2]}`, `{"a":[1,2,3]}`, `{"a":[1,2,3]}`},
		{`{"a":9007199254740993}`, `{"a":9007199254740992,"b":1}`, `{"a":9007199254740992,"b":2}`,
			`{"a":9007199254740993,"b":2}`},
		{`null`, `{"a":1}`, `{"a":2}`, `{"a":2}`},
		{`[1]`, `[1]`, `[2]`, `[2]`},
	} {
		t.Run(fmt.Sprint(each), func(t *testing.T) {
			made := overlay(document(t, each.stored), document(t, each.base), document(t, each.mine))
			if got, err := encode(made); err != nil || string(got) != each.want {
				t.Errorf("%s %v", got, err)
			}
		})
	}
}

func TestDocumentsAreOneValueAndKeepTheirText(t *testing.T) {
	if got, err := encode(document(t, `{"a":"<&>é","n":1.10}`)); err != nil || string(got) != `{"a":"<&>é","n":1.10}` {
		t.Errorf("%s %v", got, err)
	}
	for _, text := range []string{"", "{} {}", "{}x", "nul"} {
		if _, err := decode([]byte(text)); err == nil {
			t.Errorf("%q is JSON", text)
		}
	}
}
