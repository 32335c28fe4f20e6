// SPDX-License-Identifier: Apache-2.0

package mistake_test

import (
	"testing"

	"crypto-auditing/src/internal/mistake"
)

func TestTheNearestNameIsFoundUnlessAllAreFar(t *testing.T) {
	names := []string{"tls::group", "tls::role", "pk::bits"}
	for text, want := range map[string]string{"tls::grup": "tls::group", "TLS::ROLE": "tls::role", "pk:bits": "pk::bits", "kernel": "", "": ""} {
		if got := mistake.Nearest(text, names); got != want {
			t.Errorf("the name nearest to %q is %q, want %q", text, got, want)
		}
	}
}
