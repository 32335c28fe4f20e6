// SPDX-License-Identifier: Apache-2.0

package tls_test

import (
	"maps"
	"testing"

	"crypto-auditing/src/internal/wire/tls"
	"crypto-auditing/src/internal/wire/wiretest"
)

func TestParserReadsHandshakesOfOtherPrograms(t *testing.T) {
	for _, c := range wiretest.Captures(t) {
		if c.Want["protocol"] != "" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			var p tls.Parser
			for _, role := range []tls.Role{tls.Client, tls.Server} {
				for _, size := range []int{1 << 20, 1, 11} {
					p.Reset()
					feed(&p, &c.Handshake, role, size)
					if got := wiretest.Facts(&p.Handshake); !maps.Equal(got, c.Want) || p.Role != role {
						t.Errorf("role %d, portions of %d bytes:\n%v, want\n%v", role, size, got, c.Want)
					}
				}
			}
		})
	}
}
