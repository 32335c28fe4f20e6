// SPDX-License-Identifier: Apache-2.0

package wiretest

import (
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"crypto-auditing/src/internal/wire/tls"
)

// Handshakes recorded from other programs, one per file: a comment that names the
// programs, lines KEY = VALUE with the values that the programs report, and the data
// that the client (c) and the server (s) wrote, in order, each up to a few bytes after
// the start of encryption. The keys were not kept.
//
//go:embed captures
var captures embed.FS

// Capture is a handshake recorded from other programs.
type Capture struct {
	Handshake
	Name string
	// Want holds the values that the programs report.
	Want map[string]string
}

// Captures returns the recorded handshakes.
func Captures(t testing.TB) []Capture {
	t.Helper()
	files, err := fs.Glob(captures, "captures/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d captures: %v", len(files), err)
	}
	var all []Capture
	for _, file := range files {
		text, err := captures.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c := Capture{Name: strings.TrimSuffix(strings.TrimPrefix(file, "captures/"), ".txt"), Want: map[string]string{}}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if key, value, ok := strings.Cut(line, " = "); ok {
				c.Want[key] = value
				continue
			}
			side, data, _ := strings.Cut(line, " ")
			if side == "#" {
				continue
			}
			b, err := hex.DecodeString(data)
			if err != nil || side != "c" && side != "s" {
				t.Fatalf("%s: %q is not a line of a capture: %v", file, line, err)
			}
			c.Portions = append(c.Portions, Portion{side == "c", b})
		}
		all = append(all, c)
	}
	return all
}

// Facts returns the values of a handshake in the format of the captures.
func Facts(p *tls.Handshake) map[string]string {
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
