// SPDX-License-Identifier: Apache-2.0

// Package query implements crauctl query and monitor, which select operations of a log
// and show them.
package query

import (
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/boots"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/progress"
	"crypto-auditing/src/internal/cli/query/viewer"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/selection"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/schema"
)

// queryFlags are the options of crauctl query.
type queryFlags struct {
	files       []string
	directory   string
	bootTime    int64
	bootName    string
	named       bool // a boot is given
	listBoots   bool
	lines       console.Lines
	reverse     bool
	output      string
	noPager     bool
	pagerEnd    bool
	quiet       bool
	all         bool
	follow      bool
	afterCursor string
	cursorFile  string
	showCursor  bool
	monitor     bool
	options     selection.Options

	count        bool
	listKeys     bool
	field        string
	outputFields []string
	names        bool
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
decimal, hexadecimal with 0x, or its name: tls::protocol_version="TLS 1.2".
Matches of the same key are alternatives; matches of different keys must all hold
somewhere in the tree. The same applies to --executable and --context. A group
that was only offered does not match. pq=no selects operations that do not resist
quantum computers. Selected operations are shown as a whole. Notices of missing
data are always shown: lost events, times without recording, removed entries.

--since and --until accept RFC 3339, "YYYY-MM-DD HH:MM:SS" with or without a time
zone, only a date or a time, now, today, yesterday, tomorrow, @SECONDS since the
epoch, -1h30min, "2 hours ago". An operation is shown if it began at or after the
first time, and its first events were recorded at or before the second.
` + console.ExitHelp,
		Example: `  crauctl query --since today
  crauctl query -f --executable curl
  crauctl query --file audit.cborseq -o json-pretty
  crauctl query --file audit.cborseq.zst tls::group=X25519MLKEM768`,
		RunE: func(command *cobra.Command, arguments []string) error {
			f.named = command.Flags().Changed("boot")
			q, err := newQuery(e, &f, arguments, command.Flags().Changed)
			if err != nil {
				return err
			}
			if f.listBoots {
				return q.showBoots(command.Context())
			}
			return q.run(command.Context())
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&f.files, "file", nil, "read a log `FILE` of any form; may be repeated")
	flags.StringVarP(&f.directory, "directory", "D", "", "read the log in directory `DIR` instead of asking the broker")
	f.options.AddTimes(command)
	flags.StringVarP(&f.bootName, "boot", "b", "", "show what was recorded in boot `BOOT`: 0 is the newest, -1 the one before, 1 the oldest, or a boot id; without one, what began since this machine was booted")
	flags.BoolVar(&f.listBoots, "list-boots", false, "list the boots in the log")
	f.lines = console.AllLines
	flags.VarP(&f.lines, "lines", "n", "show the newest `N` operations only, without a number 10; all")
	flags.BoolVarP(&f.reverse, "reverse", "r", false, "show the newest operation first")
	f.addOutput(command)
	f.options.Add(command, e)
	flags.BoolVarP(&f.follow, "follow", "f", false, "continue with operations as they are recorded")
	flags.StringVar(&f.afterCursor, "after-cursor", "", "show what was recorded after `CURSOR`; oldest and newest are the ends")
	flags.StringVar(&f.cursorFile, "cursor-file", "", "begin after the cursor in `FILE`, if there is one, and save the new one there")
	flags.BoolVar(&f.showCursor, "show-cursor", false, "end with the cursor of what was shown")
	flags.Int64Var(&f.bootTime, "boot-time", 0, "use `SECONDS` since the epoch as the time of boot")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "suppress hints: why nothing is shown, what was removed, what may be mistyped")
	flags.BoolVar(&f.count, "count", false, "print only the number of operations")
	flags.BoolVarP(&f.listKeys, "fields", "N", false, "print only the keys that occur, and how often")
	flags.StringVarP(&f.field, "field", "F", "", "print only the values that occur for `KEY`, and how often; executable and origin are keys, too")
	flags.BoolVarP(&f.pagerEnd, "pager-end", "e", false, "show the end in the pager, of the newest 1,000 operations unless --lines gives their number")
	flags.BoolVar(&f.noPager, "no-pager", false, "do not show the output in a pager")

	f.completeBoots(command, e)
	f.completeNames(command, e)
	console.CompleteFiles(command, "file", "cursor-file")
	console.CompleteDirectories(command, "directory")
	console.MustComplete(command, "field", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return f.options.CompleteKey(e)
	})
	return command
}

// addOutput adds the options about the output that query and monitor share.
func (f *queryFlags) addOutput(command *cobra.Command) {
	render.Forms().Option(command, &f.output)
	command.Flags().StringSliceVar(&f.outputFields, "output-fields", nil, "show the data of the keys `KEY,…` only")
	command.Flags().BoolVarP(&f.all, "all", "a", false, "show unit and source in json-pretty, too, which lacks them in the public project's form")
	command.Flags().BoolVar(&f.names, "names", false, "add the names of numbers to JSON, as KEY_name")
}

// query is a query that is ready to run.
type query struct {
	queryFlags

	environment *console.Environment
	registry    *schema.Registry
	selection   selection.Selection
	boot        source.BootTime
	form        render.Form
	fields      map[string]bool // to show, nil: all
	meter       *progress.Meter

	// chosen is the selected boot, nil if none is; shown is its part of the log.
	chosen *boots.Spec
	shown  *boots.Boot
}

func newQuery(e *console.Environment, f *queryFlags, arguments []string, given func(option string) bool) (*query, error) {
	form, err := render.Forms().Named(f.output)
	if err != nil {
		return nil, err
	}
	f.options.Boot = f.bootName == console.CurrentBoot
	q := &query{queryFlags: *f, environment: e, form: form, boot: source.BootTime{Machine: e.BootTime}}
	if err := f.exclusions(form.Array); err != nil {
		return nil, err
	}
	if q.chosen, err = f.chooseBoot(); err != nil {
		return nil, err
	}
	if given("boot-time") {
		if f.bootTime < 0 || f.bootTime > math.MaxInt64/int64(time.Second) {
			return nil, console.Usagef("bad time of boot %d: it is in seconds since the Unix epoch", f.bootTime)
		}
		forced := f.bootTime * int64(time.Second)
		q.boot.Forced = &forced
	}
	switch {
	case given("lines"):
	case q.follow && !given("since") && f.afterCursor == "" && f.cursorFile == "":
		q.lines = followLines
	case q.pagerEnd:
		q.lines = pagerEndLines
	}
	if q.registry, err = f.options.Registry(e); err != nil {
		return nil, err
	}
	if q.selection, err = selection.New(e, q.registry, &q.options, arguments, given); err != nil {
		return nil, err
	}
	q.summarize()
	return q, nil
}

// pagerEndLines is the number of operations with --pager-end.
const pagerEndLines = 1000

// exclusions returns an error if options are mutually exclusive.
func (f *queryFlags) exclusions(array bool) error {
	summary := 0
	for _, given := range []bool{f.count, f.listKeys, len(f.field) > 0} {
		if given {
			summary++
		}
	}
	switch {
	case len(f.files) > 0 && f.directory != "":
		return console.Usagef("--file and --directory exclude each other")
	case len(f.files) > 0 && (f.follow || f.afterCursor != "" || f.cursorFile != "" || f.showCursor):
		return console.Usagef("--follow and cursors need a log that lives: leave out --file, or use --directory DIR")
	case len(f.files) > 0 && (f.listBoots || f.named && f.bootName != console.CurrentBoot):
		return console.Usagef("the boots of a log are found in its directory: leave out --file, or use --directory DIR")
	case f.afterCursor != "" && f.cursorFile != "":
		return console.Usagef("--after-cursor and --cursor-file exclude each other")
	case f.follow && f.reverse:
		return console.Usagef("--follow and --reverse exclude each other")
	case f.follow && array && !f.monitor:
		return console.Usagef("--follow never ends the array of %s: use -o json or -o json-seq", f.output)
	case summary > 1:
		return console.Usagef("--count, --field and --fields exclude each other")
	case summary > 0 && f.follow:
		return console.Usagef("--follow never ends what --count, --field and --fields count")
	}
	return nil
}

// summarize sets the form of a summary, if one is requested, and resolves its keys.
func (q *query) summarize() {
	asJSON := strings.HasPrefix(q.output, "json")
	switch {
	case q.count:
		q.form = render.Count()
	case q.listKeys:
		q.form = render.Keys(asJSON)
	case len(q.field) > 0:
		q.form = render.Values(selection.Keys(q.registry, q.field), asJSON)
	}
	if len(q.outputFields) > 0 {
		q.fields = make(map[string]bool)
		for _, field := range q.outputFields {
			for _, key := range selection.Keys(q.registry, field) {
				q.fields[key] = true
			}
		}
	}
}

// viewer returns the options of the viewer.
func (q *query) viewer() viewer.Options {
	return viewer.Options{
		Registry: q.registry, Selection: &q.selection, Lines: int(q.lines), Reverse: q.reverse, Entries: q.form.Entries,
	}
}
