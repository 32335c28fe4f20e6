// SPDX-License-Identifier: Apache-2.0

// Package cli is crauctl: the administrator's tool for the log of
// cryptographic events.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/agentunit"
	"crypto-auditing/src/internal/cli/timespec"
	"crypto-auditing/src/internal/schema"
)

// Exit codes of crauctl.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitDenied      = 3
	exitInterrupted = 130 // 128 and SIGINT, as shells have it
)

const exitHelp = `
Exit status:
  0    success
  1    failure, also where a part of the log could not be read
  2    bad usage: an option, argument or time that cannot be
  3    the log may not be read by this user
  130  interrupted
`

// Environment is what crauctl needs of the world around it.
type Environment struct {
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Lookup   func(name string) (value string, ok bool)
	Now      func() time.Time
	Location *time.Location
	// Version is that of the build, if it knows.
	Version string
	// ProcStat is the file that states the time of boot (proc(5)).
	ProcStat string
	// Systemd is a directory that is there if systemd runs the machine
	// (agentunit.Systemd).
	Systemd string
	// RegistryDirs hold registry files of packages and the administrator.
	RegistryDirs []string
}

// System returns the environment of the process; version is that of its build.
func System(version string) Environment {
	return Environment{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Lookup: os.LookupEnv, Now: time.Now, Location: time.Local,
		Version:      version,
		ProcStat:     "/proc/stat",
		Systemd:      agentunit.Systemd,
		RegistryDirs: []string{"/usr/lib/crypto-auditing/registry.d", "/etc/crypto-auditing/registry.d"},
	}
}

func (e *Environment) getenv(name string) string {
	value, _ := e.Lookup(name)
	return value
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, arguments ...any) error {
	return usageError{fmt.Errorf(format, arguments...)}
}

// Run runs crauctl with arguments and returns its exit code. A done context
// ends what waits, as following a log, in good order.
func Run(ctx context.Context, arguments []string, e Environment) int {
	begun := false
	root := newRootCommand(&e)
	root.PersistentPreRun = func(*cobra.Command, []string) { begun = true }
	root.SetArgs(arguments)
	root.SetIn(e.Stdin)
	root.SetOut(e.Stdout)
	root.SetErr(e.Stderr)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) {
		return exitInterrupted
	}
	if !errors.Is(err, errTold) {
		fmt.Fprintf(e.Stderr, "crauctl: %v\n", err)
	}
	if !begun || isUsage(err) {
		fmt.Fprintf(e.Stderr, "Try '%s --help'.\n", command.CommandPath())
		return exitUsage
	}
	if errors.Is(err, fs.ErrPermission) {
		var denied *deniedError
		var remedy *remedyError
		if !errors.As(err, &denied) && !errors.As(err, &remedy) { // these say what to do
			fmt.Fprintln(e.Stderr, "The log may be read by root and the group crypto-auditing.")
		}
		return exitDenied
	}
	return exitFailure
}

func isUsage(err error) bool {
	var usage usageError
	var match *schema.MatchError
	var when *timespec.Error
	return errors.As(err, &usage) || errors.As(err, &match) || errors.As(err, &when)
}

func newRootCommand(e *Environment) *cobra.Command {
	root := &cobra.Command{
		Use:   "crauctl",
		Short: "Look at the log of cryptographic events",
		Long: `crauctl shows which cryptography the programs on this machine used, as their
libraries told crypto-auditing while they used it.
` + exitHelp,
		Version:       e.version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("crauctl {{.Version}}\n")
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.AddCommand(newMonitorCommand(e), newSubscriptionsCommand(e), newVacuumCommand(e))
	root.AddCommand(newQueryCommand(e), newVerifyCommand(e), newLogInfoCommand(e), newProbesCommand())
	root.AddCommand(newStatusCommand(e), newFlushCommand(e), newRotateCommand(e), newMetricsCommand(e))
	return root
}

// version is that of the build: what it was given, else what the Go tool
// recorded.
func (e *Environment) version() string {
	if e.Version != "" {
		return e.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
