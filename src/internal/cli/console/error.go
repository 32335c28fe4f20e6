// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"fmt"
)

// Exit statuses of crauctl.
const (
	ExitFailure     = 1
	ExitUsage       = 2
	ExitDenied      = 3
	ExitFindings    = 4   // findings that should stop a script, such as a broken rule
	ExitInterrupted = 130 // 128 + SIGINT, as in shells
)

// ExitHelp is the last part of the help of commands that read a log.
const ExitHelp = `
Exit status:
  0    success
  1    failure, also if a part of the log could not be read
  2    bad usage: an invalid option, argument or time
  3    not authorised to read the log
  130  interrupted
`

// UsageError is a mistake in the command line.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }
func (e UsageError) Unwrap() error { return e.Err }

// Usagef returns a UsageError with a formatted text.
func Usagef(format string, arguments ...any) error {
	return UsageError{fmt.Errorf(format, arguments...)}
}

// RemedyError is an error whose text includes the remedy.
type RemedyError struct {
	Text string
	Err  error
}

func (e *RemedyError) Error() string { return e.Text }
func (e *RemedyError) Unwrap() error { return e.Err }

// ErrInterrupted is the cause of a done context if the user has interrupted crauctl.
// Otherwise, following a log ends without an error.
var ErrInterrupted = errors.New("interrupted")

// ErrReported is a failure that has already been reported.
var ErrReported = errors.New("parts of the log could not be read")

// Exit statuses of commands that run another command, as in env(1) and timeout(1): own
// failure, command not executable, command not found.
const (
	ExitTrace         = 125
	ExitNotExecutable = 126
	ExitNotFound      = 127
)

// StatusError ends crauctl with a specific exit status, silently if Err is nil.
type StatusError struct {
	Status int
	Err    error
}

func (e *StatusError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Status)
	}
	return e.Err.Error()
}

func (e *StatusError) Unwrap() error { return e.Err }
