// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"bytes"
	"testing"

	"crypto-auditing/src/internal/layout/image"
)

func openImage(t testing.TB, b []byte) *image.Image {
	t.Helper()
	m, err := image.Open(bytes.NewReader(b), int64(len(b)), wanted())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"libssl.so.3", "libcrypto.so.3", "libgnutls.so.30"} {
		b.Run(name, func(b *testing.B) {
			whole := original(b, name)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(bytes.NewReader(whole), int64(len(whole))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
