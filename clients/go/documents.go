package statesidecar

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"reflect"
)

// Documents are JSON values as encoding/json makes them of any: map[string]any, []any, string, bool, nil, and numbers as
// their text, so that none loses a digit.

func decode(data []byte) (any, error) {
	var document any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return document, nil
}

// encode is compact and leaves <, > and & as they are.
func encode(value any) ([]byte, error) {
	var data bytes.Buffer
	encoder := json.NewEncoder(&data)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(data.Bytes(), []byte("\n")), nil
}

// canonical is the document that a value is saved as.
func canonical(value any) (any, error) {
	data, err := encode(value)
	if err != nil {
		return nil, err
	}
	return decode(data)
}

func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// overlay is the stored document with the changes that lead from base to mine. What neither has stays, so a program that
// knows only some fields of a state doesn't destroy the others.
func overlay(stored, base, mine any) any {
	document, isObject := stored.(map[string]any)
	was, wasObject := base.(map[string]any)
	changed, staysObject := mine.(map[string]any)
	if !isObject || !wasObject || !staysObject {
		return mine
	}
	result := maps.Clone(document)
	for name := range was {
		if _, kept := changed[name]; !kept {
			delete(result, name)
		}
	}
	for name, value := range changed {
		if before, known := was[name]; !known || !same(before, value) {
			result[name] = overlay(document[name], before, value)
		}
	}
	return result
}
