// SPDX-License-Identifier: Apache-2.0

// Package trace implements crauctl trace: it runs a command, or observes processes, and
// shows their operations live.
package trace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/event"
)

// options are the options of the command line.
type options struct {
	output     string
	file       string
	summary    bool // in addition to the operations
	summarized bool // instead of the operations
	sources    []string
	pids       []int
	user       string
	names      bool
}

// NewCommand returns crauctl trace.
func NewCommand(e *console.Environment) *cobra.Command {
	var o options
	command := &cobra.Command{
		Use:   "trace [OPTION...] {-p PID | [--] COMMAND [ARGUMENT...]}",
		Short: "Run a command and show its cryptographic operations",
		Long: `Trace runs a command and shows the cryptographic operations of the command and
its descendants while they happen: TLS and SSH handshakes at their sockets, and the
operations that their libraries report. With --pid it watches running processes,
until it is interrupted or they end; a line reports when it has begun. It needs
neither the agent nor a log.

The command has the standard input and output, the terminal, the user and the
environment of crauctl. Trace writes to standard error, or to the file of
--output-file. It ends when the command and all descendants have ended; if only
descendants are left, Control-C ends trace, and they continue to run.

Trace needs root, or the capabilities CAP_BPF and CAP_PERFMON, on kernels
before 6.6 also CAP_SYS_ADMIN.

Exit status:
  that of the command; 128 and the signal if one has ended it
  2    bad usage
  125  trace failed, or is not authorised
  126  the command cannot be executed
  127  the command does not exist
  130  interrupted, with --pid
`,
		Example: `  sudo crauctl trace -- curl -s https://localhost
  sudo crauctl trace -c -- sh -c 'ssh-keygen -t ed25519 -N "" -f key; openssl version'
  sudo crauctl trace -o json --pid "$(pidof nginx)"`,
		RunE: func(command *cobra.Command, arguments []string) error {
			if err := o.check(arguments); err != nil {
				return err
			}
			return run(command.Context(), e, &o, arguments)
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.SetInterspersed(false)
	flags.BoolVarP(&o.summarized, "summary-only", "c", false, "show only a table at the end: operation, algorithm, count, first and last")
	flags.BoolVarP(&o.summary, "summary", "C", false, "show the operations, and the table at the end")
	render.Forms().Option(command, &o.output)
	flags.StringVarP(&o.file, "output-file", "O", "", "write to `FILE` instead of standard error")
	flags.BoolVar(&o.names, "names", false, "add the names of numbers to JSON, as KEY_name")
	flags.StringSliceVar(&o.sources, "source", nil, "use the source `SOURCE` only: "+sourceNames()+"; may be repeated")
	flags.IntSliceVarP(&o.pids, "pid", "p", nil, "watch the process `PID`, with what it has started and will start; may be repeated")
	flags.StringVarP(&o.user, "user", "u", "", "run the command as `USER`, with the groups of that user")
	console.CompleteFiles(command, "output-file")
	console.MustComplete(command, "source", cobra.FixedCompletions(strings.Split(sourceNames(), ", "), cobra.ShellCompDirectiveNoFileComp))
	console.MustComplete(command, "pid", cobra.NoFileCompletions)
	console.MustComplete(command, "user", cobra.NoFileCompletions)
	return command
}

func sourceNames() string {
	var names []string
	for _, s := range event.Sources() {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// check returns an error if the command line is invalid.
func (o *options) check(arguments []string) error {
	switch {
	case len(arguments) == 0 && len(o.pids) == 0:
		return console.Usagef("trace needs a command, or a process by --pid")
	case len(arguments) > 0 && len(o.pids) > 0:
		return console.Usagef("trace takes a command or --pid, not both")
	case len(arguments) == 0 && o.user != "":
		return console.Usagef("--user is for a command")
	case o.summary && o.summarized:
		return console.Usagef("--summary and --summary-only exclude each other")
	}
	for _, pid := range o.pids {
		if pid <= 0 {
			return console.Usagef("%d is not the number of a process", pid)
		}
	}
	for _, name := range o.sources {
		if !slices.Contains(event.Sources(), event.Source(name)) {
			return console.Usagef("unknown source %q: there are %s", name, sourceNames())
		}
	}
	return nil
}

// used returns the sources to use.
func (o *options) used() (used []event.Source) {
	if o.sources == nil {
		return event.Sources()
	}
	for _, name := range o.sources {
		used = append(used, event.Source(name))
	}
	return used
}

// readable reports whether standard error is for people: programs read the other forms.
func (o *options) readable() bool {
	return o.file != "" || slices.ContainsFunc([]string{"short", "cat", "verbose"}, func(form string) bool { return strings.HasPrefix(o.output, form) })
}

// failed wraps a failure of trace itself, as opposed to one of the command.
func failed(err error) error {
	return &console.StatusError{Status: console.ExitTrace, Err: fmt.Errorf("cannot trace: %w", err)}
}
