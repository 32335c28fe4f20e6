// SPDX-License-Identifier: Apache-2.0

// Package program has the parts that the daemons share as programs: exit statuses, usage
// errors and flags.
package program

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/quantity"
)

// Exit statuses besides 0 and config.ExitConfig.
const (
	ExitFailure = 1
	ExitUsage   = 2
)

// Failed is the prefix of the status text that a failing program sends to the service
// manager. A text without it was sent before the failure.
const Failed = "failed: "

// UsageError is an error in the arguments of the program.
type UsageError struct{ error }

// Unwrap returns the cause.
func (e UsageError) Unwrap() error { return e.error }

// Usage marks an error as a UsageError; nil stays nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return UsageError{err}
}

// permanentError is a failure that lasts until an administrator fixes it.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks an error that would recur at the next start: the exit status is
// config.ExitConfig, after which the service manager does not restart the program. nil
// stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// findingError is the result of a check or the answer of another process.
type findingError struct{ error }

func (e findingError) Unwrap() error { return e.error }

// Finding marks an error that the program was called to find: it is printed and is not a
// failure of the service. nil stays nil.
func Finding(err error) error {
	if err == nil {
		return nil
	}
	return findingError{err}
}

// Main runs a daemon and exits: it is their func main. memoryLimit, in bytes, makes the garbage
// collector run more often instead of letting the process grow.
func Main(memoryLimit int64, command func(stdout, stderr io.Writer) *cobra.Command) {
	debug.SetMemoryLimit(memoryLimit)
	os.Exit(Run(command(os.Stdout, os.Stderr), os.Args[1:], os.Stderr))
}

// Run runs a command, prints its error and returns the exit status. It also sends the
// error to the service manager, which shows it while the service is in the failed state.
func Run(command *cobra.Command, args []string, stderr io.Writer) int {
	command.SetArgs(args)
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return Usage(err) })
	err := command.Execute()
	if err == nil {
		return 0
	}
	var finding findingError
	isFinding := errors.As(err, &finding)
	if message.ToJournal(stderr) && !isFinding {
		message.ServiceFailed.Log(message.New(stderr), "error", err)
	} else {
		fmt.Fprintf(stderr, "%s: %v\n", command.Name(), err)
	}
	if !isFinding {
		// It does nothing without a service manager; its failure is ignored.
		_, _ = daemon.SdNotify(false, "STATUS="+Failed+strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	var usage UsageError
	var bad *config.Error
	var permanent permanentError
	switch {
	case errors.As(err, &bad), errors.As(err, &permanent):
		return config.ExitConfig
	case errors.As(err, &usage):
		return ExitUsage
	}
	return ExitFailure
}

// Warn logs the values in the configuration that the next version rejects.
func Warn(log *slog.Logger, deprecated []config.Deprecated) {
	for _, d := range deprecated {
		message.Deprecated.Log(log, "error", d.String(), "file", d.File, "line", d.Line, "key", d.Key, "replacement", d.Replacement)
	}
}

// NoArguments rejects positional arguments.
func NoArguments(c *cobra.Command, args []string) error { return Usage(cobra.NoArgs(c, args)) }

// DurationFlag is a flag (pflag.Value) for a duration of the configuration.
type DurationFlag struct {
	*config.Duration
	// Unit is the unit of a number without one; 0 makes such a number an error.
	Unit time.Duration
	// Off reports that "infinity" means the same as 0.
	Off bool
}

// Set parses the flag's value.
func (f DurationFlag) Set(text string) error {
	d, err := quantity.ParseDuration(text, f.Unit)
	if err != nil {
		return err
	}
	if f.Off && d == quantity.Infinity {
		d = 0
	}
	*f.Duration = config.For(d)
	return nil
}

// Type returns the name of the value in the help.
func (f DurationFlag) Type() string { return "duration" }
