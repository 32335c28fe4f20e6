// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"testing"
)

func TestTablesMatchTheNames(t *testing.T) {
	names, err := os.ReadFile("../../../schema/iana.toml")
	if err != nil {
		t.Fatal(err)
	}
	want, err := generate(names)
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../tables.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Error("run 'make generate': tables.go does not match src/internal/schema/iana.toml")
	}
}

func TestFinishedLengths(t *testing.T) {
	for suite, want := range map[string]int{
		"TLS_AES_128_GCM_SHA256": 53, "TLS_AES_256_GCM_SHA384": 69, "TLS_CHACHA20_POLY1305_SHA256": 53,
		"TLS_AES_128_CCM_8_SHA256": 45, "TLS_AEGIS_256_SHA512": 85, "TLS_SM4_GCM_SM3": 53,
		"TLS_SHA256_SHA256": 0, "TLS_RSA_WITH_AES_128_GCM_SHA256": 0, "TLS_FALLBACK_SCSV": 0,
	} {
		if got := finished(suite); got != want {
			t.Errorf("%s: %d bytes, want %d", suite, got, want)
		}
	}
}
