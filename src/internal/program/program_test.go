// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/program"
)

func TestTheExitStatusIndicatesTheFailure(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		err    error
		status int
		stderr string
	}{
		"nothing":           {status: 0},
		"a failure":         {err: errors.New("no luck"), status: program.ExitFailure, stderr: "crau-test: no luck\n"},
		"bad usage":         {err: fmt.Errorf("so: %w", program.Usage(errors.New("no"))), status: program.ExitUsage, stderr: "crau-test: so: no\n"},
		"bad configuration": {err: &config.Error{File: "f", Line: 3, Problem: "p"}, status: config.ExitConfig, stderr: "crau-test: f:3: p\n"},
		"an unknown flag":   {args: []string{"--none"}, status: program.ExitUsage, stderr: "crau-test: unknown flag: --none\n"},
		"an argument":       {args: []string{"x"}, status: program.ExitUsage, stderr: "crau-test: unknown command \"x\" for \"crau-test\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			command := &cobra.Command{
				Use: "crau-test", Args: program.NoArguments, SilenceUsage: true, SilenceErrors: true,
				RunE: func(*cobra.Command, []string) error { return c.err },
			}
			var stderr bytes.Buffer
			if status := program.Run(command, append([]string{}, c.args...), &stderr); status != c.status || stderr.String() != c.stderr {
				t.Errorf("status %d and %q, want %d and %q", status, stderr.String(), c.status, c.stderr)
			}
		})
	}
}
