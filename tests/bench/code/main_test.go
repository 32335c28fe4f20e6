// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"crypto-auditing/tests/bench/figures"
)

func TestResultsAreParsedFromOutputOfGoTest(t *testing.T) {
	got := values{}
	for _, line := range []string{
		"goos: linux",
		"BenchmarkHandshake/X25519/operation-2 \t 20000\t 1691 ns/op\t 710 B/op",
		"BenchmarkHandshake/X25519/operation-2 \t 20000\t 1643 ns/op\t 710 B/op",
		"ok  \tcrypto-auditing/src/internal/wire\t0.914s",
	} {
		got.line(line)
	}
	if lowest, err := got.lowest("Handshake/X25519/operation", "ns/op"); err != nil || lowest != 1643 {
		t.Errorf("got %v, %v, want 1643", lowest, err)
	}
	if _, err := got.lowest("Handshake/X25519/operation", "ms/op"); err == nil {
		t.Error("got a value for a unit that was not printed")
	}
}

func TestPatternSelectsOnlyBenchmarksOfFigures(t *testing.T) {
	p := part{results: []result{
		{benchmark: "Append/io_uring"}, {benchmark: "Selective/filtered", over: "Selective/all.of"},
	}}
	want := `^BenchmarkAppend$/^io_uring$|^BenchmarkSelective$/^filtered$|^BenchmarkSelective$/^all\.of$`
	if got := p.pattern(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEachFigureHasExactlyOneTarget(t *testing.T) {
	names := map[string]bool{}
	for _, p := range parts() {
		for _, r := range p.results {
			if names[r.name] || r.kind == figures.None || r.scale == 0 {
				t.Errorf("figure %s is listed twice, or has no target or scale", r.name)
			}
			names[r.name] = true
		}
	}
}
