// SPDX-License-Identifier: Apache-2.0

// Package program is what the daemons have in common as programs: exit
// statuses, errors in how they are called, and flags.
package program

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
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

// Failed begins what the service manager is told of a program that fails. A
// text without it is older than the failure.
const Failed = "failed: "

// UsageError is an error in how the program was called.
type UsageError struct{ error }

// Unwrap returns what was wrong.
func (e UsageError) Unwrap() error { return e.error }

// Usage marks an error as one in how the program was called; nil stays nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return UsageError{err}
}

// permanentError is a failure that lasts until somebody does something about
// it.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

// Permanent marks an error that will be the same at the next start: the exit
// status is config.ExitConfig, for which the service manager does not start the
// program again. nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanentError{err}
}

// askedError is what a check found, or another process answered.
type askedError struct{ error }

func (e askedError) Unwrap() error { return e.error }

// Asked marks an error of a call that was to find it: it is printed, and is not
// the failure of a service. nil stays nil.
func Asked(err error) error {
	if err == nil {
		return nil
	}
	return askedError{err}
}

// Run runs a command, prints its error and returns the exit status. The service
// manager is told the error, too: it shows it as long as the service fails.
func Run(command *cobra.Command, args []string, stderr io.Writer) int {
	command.SetArgs(args)
	command.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return Usage(err) })
	err := command.Execute()
	if err == nil {
		return 0
	}
	var asked askedError
	isAsked := errors.As(err, &asked)
	if message.ToJournal(stderr) && !isAsked {
		message.ServiceFailed.Log(message.New(stderr), "error", err)
	} else {
		fmt.Fprintf(stderr, "%s: %v\n", command.Name(), err)
	}
	if !isAsked {
		// Without one nothing happens; and a failure to tell is no other failure.
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

// Warn logs what the next version refuses in the configuration.
func Warn(log *slog.Logger, deprecated []config.Deprecated) {
	for _, d := range deprecated {
		message.Deprecated.Log(log, "error", d.String(), "file", d.File, "line", d.Line, "key", d.Key, "replacement", d.Replacement)
	}
}

// NoArguments refuses arguments that are no flags.
func NoArguments(c *cobra.Command, args []string) error { return Usage(cobra.NoArgs(c, args)) }

// DurationFlag makes a flag (pflag.Value) of a duration in the configuration.
type DurationFlag struct {
	*config.Duration
	// Unit is what a number without a unit counts; 0: it is an error.
	Unit time.Duration
	// Off says that "infinity" means the same as 0.
	Off bool
}

// Set reads the flag's value.
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

// Type is the name of the value in the help.
func (f DurationFlag) Type() string { return "duration" }
