// SPDX-License-Identifier: Apache-2.0

// Package cli is crauctl, the administrator's tool for the log of cryptographic events.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/agentctl"
	"crypto-auditing/src/internal/cli/cbom"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/inventory"
	"crypto-auditing/src/internal/cli/logctl"
	"crypto-auditing/src/internal/cli/policy"
	"crypto-auditing/src/internal/cli/probes"
	"crypto-auditing/src/internal/cli/query"
	"crypto-auditing/src/internal/cli/report"
	"crypto-auditing/src/internal/cli/timespec"
	"crypto-auditing/src/internal/cli/trace"
	"crypto-auditing/src/internal/schema"
)

// Run runs crauctl with arguments and returns its exit status. If the context is done,
// commands that wait, such as following a log, end normally.
func Run(ctx context.Context, arguments []string, e console.Environment) int {
	begun := false
	root := newRootCommand(&e)
	var utc bool
	root.PersistentFlags().BoolVar(&utc, "utc", false, "read and show times in UTC")
	root.PersistentPreRun = func(*cobra.Command, []string) {
		begun = true
		if utc {
			e.Location = time.UTC
		}
	}
	if command, _, err := root.Find(arguments); err == nil {
		arguments = console.Complete(command, arguments)
	}
	root.SetArgs(arguments)
	root.SetIn(e.Stdin)
	root.SetOut(e.Stdout)
	root.SetErr(e.Stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	var status *console.StatusError
	if errors.As(err, &status) {
		if status.Err != nil {
			fmt.Fprintf(e.Stderr, "crauctl: %v\n", status.Err)
		}
		return status.Status
	}
	if errors.Is(err, context.Canceled) {
		return console.ExitInterrupted
	}
	if !errors.Is(err, console.ErrReported) {
		fmt.Fprintf(e.Stderr, "crauctl: %v\n", err)
	}
	if !begun || isUsage(err) {
		fmt.Fprintf(e.Stderr, "Try '%s --help'.\n", command.CommandPath())
		return console.ExitUsage
	}
	if errors.Is(err, fs.ErrPermission) {
		if !errors.As(err, new(*console.RemedyError)) { // a RemedyError names the remedy
			fmt.Fprintln(e.Stderr, "The log may be read by root and the group crypto-auditing.")
		}
		return console.ExitDenied
	}
	return console.ExitFailure
}

func isUsage(err error) bool {
	var usage console.UsageError
	var match *schema.MatchError
	var when *timespec.Error
	return errors.As(err, &usage) || errors.As(err, &match) || errors.As(err, &when)
}

func newRootCommand(e *console.Environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "crauctl",
		Short: "Look at the log of cryptographic events",
		Long: `crauctl shows the cryptography that programs on this machine used, as recorded
by crypto-auditing while they used it.
` + console.ExitHelp,
		Version:       version(e),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("crauctl {{.Version}}\n")
	root.SetFlagErrorFunc(optionError)
	root.AddCommand(query.NewMonitorCommand(e), logctl.NewSubscriptionsCommand(e), logctl.NewVacuumCommand(e))
	root.AddCommand(query.NewCommand(e), logctl.NewVerifyCommand(e), logctl.NewLogInfoCommand(e), probes.NewCommand(), trace.NewCommand(e))
	root.AddCommand(inventory.NewInventoryCommand(e), inventory.NewSummaryCommand(e), cbom.NewCommand(e, root.Version), report.NewCommand(e, root.Version), policy.NewCommand(e))
	root.AddCommand(agentctl.NewStatusCommand(e), agentctl.NewFlushCommand(e), agentctl.NewRotateCommand(e), agentctl.NewMetricsCommand(e))
	addCompletion(root)
	return root
}

// version returns the version of the build: Environment.Version, else the version that
// the Go tool recorded.
func version(e *console.Environment) string {
	if e.Version != "" {
		return e.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
