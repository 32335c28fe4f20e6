// SPDX-License-Identifier: Apache-2.0

package tls_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"crypto-auditing/src/internal/wire/tls"
	"crypto-auditing/src/internal/wire/wiretest"
)

// facts returns what the parser knows in the words of the captures.
func facts(p *tls.Parser) map[string]string {
	m := map[string]string{"result": [...]string{"unknown", "completed", "inferred", "failed"}[p.Result]}
	set := func(key string, known bool, format string, value any) {
		if known {
			m[key] = fmt.Sprintf(format, value)
		}
	}
	describe := func(c tls.Certificate) string {
		size := c.Curve
		if c.Bits > 0 {
			size = fmt.Sprint(c.Bits)
		}
		return strings.Join([]string{c.Algorithm, size, c.Hash}, " ")
	}
	set("version", p.Version != 0, "%#04x", p.Version)
	set("suite", p.Suite != 0, "0x%04x", p.Suite)
	set("group", p.Group != 0, "%d", p.Group)
	set("hrr", p.HelloRetryGroup != 0, "%d", p.HelloRetryGroup)
	set("dh_bits", p.DHBits != 0, "%d", p.DHBits)
	set("resumed", p.Resumed == tls.Yes, "%s", "yes")
	set("resumed", p.Resumed == tls.No, "%s", "no")
	set("psk", p.ExternalPSK, "%s", "yes")
	set("early", p.EarlyData, "%s", "yes")
	set("alert", p.HasAlert, "%d", p.Alert)
	set("signature", p.ServerSignature != 0, "0x%04x", p.ServerSignature)
	set("client_signature", p.ClientSignature != 0, "0x%04x", p.ClientSignature)
	set("certificate", p.ServerCertificate.Algorithm != "", "%s", describe(p.ServerCertificate))
	set("client_certificate", p.ClientCertificate.Algorithm != "", "%s", describe(p.ClientCertificate))
	return m
}

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
					if got := facts(&p); !maps.Equal(got, c.Want) || p.Role != role {
						t.Errorf("role %d, portions of %d bytes:\n%v, want\n%v", role, size, got, c.Want)
					}
				}
			}
		})
	}
}
