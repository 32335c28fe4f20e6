// SPDX-License-Identifier: Apache-2.0

// Package query is crauctl query and monitor: they select operations of a log and
// show them.
package query

import (
	"errors"
	"math"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/selection"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/schema"
)

// queryFlags are the options of crauctl query as given.
type queryFlags struct {
	files       []string
	directory   string
	bootTime    int64
	lines       int
	reverse     bool
	output      string
	noPager     bool
	quiet       bool
	follow      bool
	afterCursor string
	cursorFile  string
	showCursor  bool
	monitor     bool
	selection   selection.Options
}

// NewCommand returns crauctl query.
func NewCommand(e *console.Environment) *cobra.Command {
	var f queryFlags
	command := &cobra.Command{
		Use:   "query [KEY=VALUE...]",
		Short: "Show the operations in a log",
		Long: `Query shows cryptographic operations as trees: a TLS handshake with the key
exchange, signatures and certificate checks inside it. It asks the broker, or
reads the log that --directory or --file names.

Matches KEY=VALUE select operations by their data. The value of a number is
decimal, 0x hexadecimal, or its name: tls::protocol_version="TLS 1.2". Matches
of different keys must all hold somewhere in the tree, of those of one key one
must. --executable and --context select alike. What is selected is shown
whole; a group that was only offered does not count. Notices of what the log does
not hold are shown whatever is selected: lost events, times without recording,
removed entries.

--since and --until take RFC 3339, "YYYY-MM-DD HH:MM:SS" with or without a time
zone, a date or a time alone, now, today, yesterday, tomorrow, @SECONDS since
the epoch, -1h30min, "2 hours ago".
An operation is shown if it began at or after the one and its first events
were recorded at or before the other.
` + console.ExitHelp,
		Example: `  crauctl query --since today
  crauctl query -f --executable curl
  crauctl query --file audit.cborseq -o json-pretty
  crauctl query --file audit.cborseq.zst tls::group=X25519MLKEM768`,
		RunE: func(command *cobra.Command, arguments []string) error {
			q, err := newQuery(e, &f, arguments, command.Flags().Changed("boot-time"))
			if err != nil {
				return err
			}
			return q.run(command.Context())
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&f.files, "file", nil, "read a log `FILE` of any form; may be repeated")
	flags.StringVar(&f.directory, "directory", "", "read the log in directory `DIR` instead of asking the broker")
	f.selection.AddTimes(command)
	flags.IntVarP(&f.lines, "lines", "n", -1, "show the newest `N` operations only")
	flags.BoolVarP(&f.reverse, "reverse", "r", false, "show the newest operation first")
	render.Forms().Option(command, &f.output)
	f.selection.Add(command, e)
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on and show operations as they are recorded")
	flags.StringVar(&f.afterCursor, "after-cursor", "", "show what was recorded after `CURSOR`; oldest and newest are the ends")
	flags.StringVar(&f.cursorFile, "cursor-file", "", "begin after the cursor in `FILE`, if there is one, and save the new one there")
	flags.BoolVar(&f.showCursor, "show-cursor", false, "end with the cursor of what was shown")
	flags.Int64Var(&f.bootTime, "boot-time", 0, "take `SECONDS` since the epoch for the time of boot")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "do not say why nothing is shown, what was removed and what may be mistyped")
	flags.BoolVar(&f.noPager, "no-pager", false, "do not show the output in a pager")

	flags.Lookup("lines").DefValue = "all"
	return command
}

// query is a query ready to run.
type query struct {
	environment *console.Environment
	registry    *schema.Registry
	selection   selection.Selection
	boot        source.BootTime
	files       []string
	directory   string
	lines       int // -1: all
	reverse     bool
	form        render.Form
	noPager     bool
	quiet       bool
	follow      bool
	afterCursor string
	cursorFile  string
	showCursor  bool
}

func newQuery(e *console.Environment, f *queryFlags, arguments []string, bootTimeGiven bool) (*query, error) {
	form, err := render.Forms().Named(f.output)
	if err != nil {
		return nil, err
	}
	q := &query{
		environment: e, files: f.files, directory: f.directory,
		lines: f.lines, reverse: f.reverse, form: form, noPager: f.noPager, quiet: f.quiet,
		follow: f.follow, afterCursor: f.afterCursor, cursorFile: f.cursorFile, showCursor: f.showCursor,
		boot: source.BootTime{ProcStat: e.ProcStat},
	}
	switch {
	case len(f.files) > 0 && f.directory != "":
		return nil, console.Usagef("--file and --directory exclude each other")
	case len(f.files) > 0 && (f.follow || f.afterCursor != "" || f.cursorFile != "" || f.showCursor):
		return nil, console.Usagef("--follow and cursors need a log that lives: leave out --file, or use --directory DIR")
	case f.afterCursor != "" && f.cursorFile != "":
		return nil, console.Usagef("--after-cursor and --cursor-file exclude each other")
	case f.follow && f.reverse:
		return nil, console.Usagef("--follow and --reverse exclude each other")
	case f.follow && form.Array && !f.monitor:
		return nil, console.Usagef("--follow never ends the array of %s: use -o json or -o json-seq", f.output)
	case f.lines < -1:
		return nil, console.Usagef("bad number of lines %d: it must not be negative", f.lines)
	}
	if bootTimeGiven {
		if f.bootTime < 0 || f.bootTime > math.MaxInt64/int64(time.Second) {
			return nil, console.Usagef("bad time of boot %d: it is in seconds since the Unix epoch", f.bootTime)
		}
		forced := f.bootTime * int64(time.Second)
		q.boot.Forced = &forced
	}
	if q.follow && q.lines < 0 && f.selection.Since == "" && f.afterCursor == "" && f.cursorFile == "" {
		q.lines = followLines
	}
	if q.registry, err = f.selection.Registry(e); err != nil {
		return nil, err
	}
	if q.selection, err = selection.New(e, q.registry, &f.selection, arguments); err != nil {
		return nil, err
	}
	return q, nil
}

// errLeft says that the output is read no longer, which is no failure.
var errLeft = errors.New("the output is not read any more")
