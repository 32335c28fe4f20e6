// SPDX-License-Identifier: Apache-2.0

// Command table prints the figures that the other programs of tests/bench measured with
// --later, with their targets.
//
//	go run ./tests/bench/table [--output FILE]
package main

import (
	"fmt"
	"os"

	"crypto-auditing/tests/bench/figures"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/table:", err)
		os.Exit(1)
	}
}

func run() error {
	o, err := figures.Parse("no effect")
	if err != nil {
		return err
	}
	all, err := figures.All(o.Output)
	if err != nil {
		return err
	}
	return all.Print(os.Stdout)
}
