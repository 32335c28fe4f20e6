// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"crypto-auditing/tests/bench/figures"
)

func TestResultsAreReadFromTheOutputOfGoTest(t *testing.T) {
	got := values{}
	for _, line := range []string{
		"goos: linux",
		"BenchmarkHandshake/X25519/operation-2 \t 20000\t 1691 ns/op\t 710 B/op",
		"BenchmarkHandshake/X25519/operation-2 \t 20000\t 1643 ns/op\t 710 B/op",
		"ok  \tcrypto-auditing/src/internal/wire\t0.914s",
	} {
		got.line(line)
	}
	if least, err := got.least("Handshake/X25519/operation", "ns/op"); err != nil || least != 1643 {
		t.Errorf("got %v, %v, want the lesser of both", least, err)
	}
	if _, err := got.least("Handshake/X25519/operation", "ms/op"); err == nil {
		t.Error("a unit that is not there has a value")
	}
}

func TestOnlyTheBenchmarksOfTheFiguresAreRun(t *testing.T) {
	p := part{results: []result{
		{benchmark: "Append/io_uring"}, {benchmark: "Selective/filtered", over: "Selective/all.of"},
	}}
	want := `^BenchmarkAppend$/^io_uring$|^BenchmarkSelective$/^filtered$|^BenchmarkSelective$/^all\.of$`
	if got := p.pattern(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEachFigureHasOneTarget(t *testing.T) {
	names := map[string]bool{}
	for _, p := range parts() {
		for _, r := range p.results {
			if names[r.name] || r.kind == figures.None || r.scale == 0 {
				t.Errorf("figure %s", r.name)
			}
			names[r.name] = true
		}
	}
}
