// SPDX-License-Identifier: Apache-2.0

package mistake_test

import (
	"errors"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"crypto-auditing/src/internal/mistake"
)

func TestMistakesAreDescribedInWordsOfTOML(t *testing.T) {
	for text, want := range map[string]string{
		"text = 5":      `key "text": its type is integer, but it must be a string`,
		"number = []":   `key "number": its type is array, but it must be an integer`,
		"switch = \"\"": `key "switch": its type is string, but it must be a boolean`,
		"list = 5":      `key "list": its type is integer, but it must be an array`,
		"in.text = 5":   `key "in.text": its type is integer, but it must be a string`,
		"text":          "expected '=' after key",
	} {
		var into struct {
			Text   string
			Number uint64
			Switch bool
			List   []string
			In     struct{ Text string }
		}
		err := toml.Unmarshal([]byte(text), &into)
		var bad *toml.DecodeError
		if !errors.As(err, &bad) {
			t.Errorf("%s: the error is %v", text, err)
		} else if got := mistake.Describe(bad); got != want {
			t.Errorf("%s: the mistake is %q, want %q", text, got, want)
		}
	}
}
