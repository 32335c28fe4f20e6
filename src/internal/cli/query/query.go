// SPDX-License-Identifier: Apache-2.0

// Package query is crauctl query and monitor: they select operations of a log and
// show them.
package query

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/cli/timespec"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

// queryFlags are the options of crauctl query as given.
type queryFlags struct {
	files       []string
	directory   string
	bootTime    int64
	since       string
	until       string
	lines       int
	reverse     bool
	output      string
	executables []string
	contexts    []string
	registry    []string
	noPager     bool
	follow      bool
	afterCursor string
	cursorFile  string
	showCursor  bool
	monitor     bool
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
		Args: matchArguments,
		ValidArgsFunction: func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return completeMatch(e, f.registry, typed)
		},
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
	flags.StringVarP(&f.since, "since", "S", "", "show what began at `TIME` or later")
	flags.StringVarP(&f.until, "until", "U", "", "show what was recorded at `TIME` or earlier")
	flags.IntVarP(&f.lines, "lines", "n", -1, "show the newest `N` operations only")
	flags.BoolVarP(&f.reverse, "reverse", "r", false, "show the newest operation first")
	render.Forms().Option(command, &f.output)
	flags.StringArrayVar(&f.executables, "executable", nil, "show what the program `NAME` did; may be repeated")
	flags.StringArrayVar(&f.contexts, "context", nil, "show operations with a context `NAME`, or tls::*; may be repeated")
	flags.BoolVarP(&f.follow, "follow", "f", false, "go on and show operations as they are recorded")
	flags.StringVar(&f.afterCursor, "after-cursor", "", "show what was recorded after `CURSOR`; oldest and newest are the ends")
	flags.StringVar(&f.cursorFile, "cursor-file", "", "begin after the cursor in `FILE`, if there is one, and save the new one there")
	flags.BoolVar(&f.showCursor, "show-cursor", false, "end with the cursor of what was shown")
	flags.Int64Var(&f.bootTime, "boot-time", 0, "take `SECONDS` since the epoch for the time of boot")
	flags.StringArrayVar(&f.registry, "registry", nil, "add the registry `FILE` to the known contexts and keys")
	flags.BoolVar(&f.noPager, "no-pager", false, "do not show the output in a pager")

	flags.Lookup("lines").DefValue = "all"
	console.MustComplete(command, "context", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return completeContext(e, f.registry)
	})
	return command
}

// matchArguments accepts arguments KEY=VALUE.
func matchArguments(_ *cobra.Command, arguments []string) error {
	for _, argument := range arguments {
		if !strings.Contains(argument, "=") {
			return fmt.Errorf("%q is no match: it must be of the form KEY=VALUE", argument)
		}
	}
	return nil
}

// loadRegistry returns the registry with the files of the administrator and
// those of the command line.
func loadRegistry(e *console.Environment, more []string) (*schema.Registry, error) {
	files, err := schema.Files(e.RegistryDirs...)
	if err != nil {
		return nil, err
	}
	return schema.Load(append(files, more...)...)
}

func completeContext(e *console.Environment, files []string) ([]string, cobra.ShellCompDirective) {
	registry, err := loadRegistry(e, files)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var list []string
	for _, name := range registry.Contexts() {
		list = append(list, name+"\t"+registry.Context(name).Description)
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// completeMatch completes KEY= and then the names of its numbers.
func completeMatch(e *console.Environment, files []string, typed string) ([]string, cobra.ShellCompDirective) {
	registry, err := loadRegistry(e, files)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var list []string
	if key, _, ok := strings.Cut(typed, "="); ok {
		for _, name := range registry.Key(key).Names() {
			list = append(list, key+"="+name)
		}
		return list, cobra.ShellCompDirectiveNoFileComp
	}
	for _, key := range registry.Keys() {
		list = append(list, key+"=\t"+registry.Key(key).Description)
	}
	return list, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// query is a query ready to run.
type query struct {
	environment *console.Environment
	registry    *schema.Registry
	selection   selection
	boot        source.BootTime
	files       []string
	directory   string
	lines       int // -1: all
	reverse     bool
	form        render.Form
	noPager     bool
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
		lines: f.lines, reverse: f.reverse, form: form, noPager: f.noPager,
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
	if q.follow && q.lines < 0 && f.since == "" && f.afterCursor == "" && f.cursorFile == "" {
		q.lines = followLines
	}
	if q.registry, err = loadRegistry(e, f.registry); err != nil {
		return nil, err
	}
	if q.selection, err = newSelection(e, q.registry, f, arguments); err != nil {
		return nil, err
	}
	return q, nil
}

// selection decides which trees are shown.
type selection struct {
	registry     *schema.Registry
	since, until int64 // nanoseconds since the Unix epoch
	executables  map[string]bool
	contexts     []schema.ContextPattern
	matches      map[string][]schema.Match // by key
}

func newSelection(e *console.Environment, registry *schema.Registry, f *queryFlags, arguments []string) (selection, error) {
	s := selection{registry: registry, since: math.MinInt64, until: math.MaxInt64}
	now := e.Now().In(e.Location)
	for _, limit := range []struct {
		text, option string
		to           *int64
	}{{f.since, "--since", &s.since}, {f.until, "--until", &s.until}} {
		if limit.text == "" {
			continue
		}
		t, err := timespec.Parse(limit.text, now)
		if err != nil {
			return selection{}, fmt.Errorf("cannot read %s: %w", limit.option, err)
		}
		*limit.to = t.UnixNano()
	}
	if s.since > s.until {
		return selection{}, console.Usagef("--since is later than --until")
	}
	if len(f.executables) > 0 {
		s.executables = make(map[string]bool)
		for _, name := range f.executables {
			s.executables[name] = true
		}
	}
	for _, name := range f.contexts {
		pattern, err := schema.ParseContextPattern(name)
		if err != nil {
			return selection{}, fmt.Errorf("cannot read --context: %w", err)
		}
		s.contexts = append(s.contexts, pattern)
	}
	for _, argument := range arguments {
		match, err := registry.ParseMatch(argument)
		if err != nil {
			return selection{}, err
		}
		if s.matches == nil {
			s.matches = make(map[string][]schema.Match)
		}
		s.matches[match.Key] = append(s.matches[match.Key], match)
	}
	return s, nil
}

// shows reports whether a tree is selected.
func (s *selection) shows(root *schema.Span) bool {
	if root.Start < s.since || root.End > s.until {
		return false
	}
	if s.executables != nil && !found(root, func(span *schema.Span) bool {
		return s.executables[span.Executable] || s.executables[event.Escaped(span.Executable)]
	}) {
		return false
	}
	if s.contexts != nil && !found(root, func(span *schema.Span) bool {
		for _, pattern := range s.contexts {
			if pattern.Matches(s.registry, span.Name) {
				return true
			}
		}
		return false
	}) {
		return false
	}
	for key, anyOf := range s.matches {
		if s.registry.WalkResults(root, key, func(span *schema.Span) bool {
			for i := range anyOf {
				if anyOf[i].In(s.registry, span) {
					return false // found
				}
			}
			return true
		}) {
			return false
		}
	}
	return true
}

// found reports whether a span of a tree fulfils a condition.
func found(root *schema.Span, condition func(*schema.Span) bool) bool {
	return !root.Walk(func(s *schema.Span) bool { return !condition(s) })
}

// showsNotice reports whether a notice is selected: only its time decides, if it
// has one.
func (s *selection) showsNotice(n *render.Notice) bool {
	return n.Kind() == render.Missing || n.End >= s.since && n.Start <= s.until
}

// errLeft says that the output is read no longer, which is no failure.
var errLeft = errors.New("the output is not read any more")
