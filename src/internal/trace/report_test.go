// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"slices"
	"testing"
)

func TestOnlyPossiblyMissedEventsAreReported(t *testing.T) {
	const nss = "it has no function that can be recorded: NSS is not supported: only sockets show its handshakes"
	for name, c := range map[string]struct {
		files []loaded
		want  []string
	}{
		"nothing":                   {nil, nil},
		"attached":                  {[]loaded{{"libssl.so.3", true, ""}, {"libcrypto.so.3", true, ""}, {"libc.so.6", false, ""}}, nil},
		"parts of GnuTLS":           {[]loaded{{"libgnutls.so.30", true, ""}, {"libnettle.so.8", false, ""}, {"libhogweed.so.6", false, ""}}, nil},
		"parts of a refused GnuTLS": {[]loaded{{"libgnutls.so.30", false, "it is odd"}, {"libnettle.so.8", false, ""}}, []string{"what these libraries did, of which no source knows more: libnettle.so.8", "what libgnutls.so.30 did: it is odd"}},
		"without GnuTLS":            {[]loaded{{"libnettle.so.8", false, ""}, {"libhogweed.so.6", false, ""}}, []string{"what these libraries did, of which no source knows more: libhogweed.so.6, libnettle.so.8"}},
		"one reason for several":    {[]loaded{{"libssl3.so", false, nss}, {"libnss3.so", false, nss}, {"libnss3.so", false, nss}}, []string{"what libnss3.so, libssl3.so did: " + nss}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := unsupported(c.files); !slices.Equal(got, c.want) {
				t.Errorf("the lines are %q, want %q", got, c.want)
			}
		})
	}
}
