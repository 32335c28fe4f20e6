// SPDX-License-Identifier: Apache-2.0

// Package report implements crauctl report, about the cryptography that programs use: whether it resists quantum
// computers, which rules it breaks, and the coverage of the observations.
package report

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/observed"
	"crypto-auditing/src/internal/cli/output"
	"crypto-auditing/src/internal/cli/terminal"
	"crypto-auditing/src/internal/inventory/cryptopolicy"
	"crypto-auditing/src/internal/inventory/report"
	"crypto-auditing/src/internal/inventory/report/form"
	"crypto-auditing/src/internal/inventory/rules"
)

// NewCommand returns crauctl report. version is the version of the build.
func NewCommand(e *console.Environment, version string) *cobra.Command {
	f := flags{version: version}
	command := &cobra.Command{
		Use:   "report",
		Short: "Report which programs use which cryptography, and whether it is allowed",
		Long: `Report shows, for each program, whether its key establishment and its
authentication resist quantum computers, and whether it keeps rules of
classical hygiene: ready, partly, not ready, or unknown. Unknown is never a yes
and never a no. It shows how complete that knowledge is, all uses with their
parameters, the post-quantum share by week, and findings by rule with dates.

Profiles select the rules; --list-rules lists both. Files in
/etc/crypto-auditing/rules.d add rules, exceptions and purposes of programs.

With --baseline, it shows which uses are new and which have stopped since an
earlier report in JSON. A use has stopped only if it would have been recorded:
--stopped RULE exits with status 0 only if that is certain.

  crauctl report -o json >before.json
  crauctl report --baseline before.json --diff --stopped nist.sp800-131ar2.sha1
` + observed.Help + `  4    with --exit-code, --diff or --stopped: a rule in force is broken (with
       --baseline: newly), or uses are not confirmed to have stopped
`,
		Args: console.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return f.run(command.Context(), e)
		},
	}
	f.add(e, command)
	return command
}

// flags are the options of crauctl report.
type flags struct {
	version  string
	observed observed.Flags

	form       string
	profiles   []string
	rules      []string
	list       bool
	baseline   string
	diff       bool
	stopped    []string
	exitCode   bool
	anonymous  bool
	executable bool
	noPager    bool
}

func (f *flags) add(e *console.Environment, command *cobra.Command) {
	f.observed.Add(command, e)
	flags := command.Flags()
	forms().Option(command, &f.form)
	flags.StringSliceVar(&f.profiles, "profile", rules.DefaultProfiles(), "compare with the rules of `PROFILE`, all for all rules; may be repeated")
	flags.StringArrayVar(&f.rules, "rules", nil, "add the rules, exceptions and purposes of `FILE`; may be repeated")
	flags.BoolVar(&f.list, "list-rules", false, "list profiles and their rules, with sources")
	flags.StringVar(&f.baseline, "baseline", "", "show the changes since the report in `FILE`, made with --output=json")
	flags.BoolVar(&f.diff, "diff", false, "show nothing but the changes, from the end of the baseline on")
	flags.StringArrayVar(&f.stopped, "stopped", nil, "exit with status 4 unless uses that break `RULE` have stopped since the baseline; may be repeated")
	flags.BoolVar(&f.exitCode, "exit-code", false, "exit with status 4 if a rule in force is broken")
	flags.BoolVar(&f.anonymous, "anonymous", false, "leave out programs, units and libraries, and round times to the hour")
	flags.BoolVar(&f.executable, "with-executables", false, "with --anonymous, keep the names of executables")
	flags.BoolVar(&f.noPager, "no-pager", false, "write text to the terminal without a pager")
	console.CompleteFiles(command, "rules", "baseline")
	console.MustComplete(command, "profile", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return f.completions(e, func(s *rules.Set) (list []string) {
			for _, p := range s.Profiles {
				list = append(list, p.Name+"\t"+p.Text)
			}
			return append(list, rules.AllProfiles+"\tall rules")
		})
	})
	console.MustComplete(command, "stopped", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return f.completions(e, func(s *rules.Set) (list []string) {
			for _, r := range s.Rules {
				list = append(list, r.ID+"\t"+r.Text)
			}
			return list
		})
	})
}

// forms returns the forms of reports for the option --output.
func forms() console.Forms[string] {
	var all console.Forms[string]
	for _, f := range form.Forms() {
		all = append(all, console.Form[string]{Name: f.Name, Help: f.Help, Write: f.Name})
	}
	return all
}

func (f *flags) completions(e *console.Environment, list func(*rules.Set) []string) ([]string, cobra.ShellCompDirective) {
	set, err := f.set(e)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return list(set), cobra.ShellCompDirectiveNoFileComp
}

func (f *flags) check() error {
	if _, err := forms().Named(f.form); err != nil {
		return err
	}
	switch {
	case f.baseline == "" && (f.diff || len(f.stopped) > 0):
		return console.Usagef("--diff and --stopped need the report to compare with: --baseline")
	case f.anonymous && f.baseline != "":
		return console.Usagef("--anonymous and --baseline exclude each other: programs could not be compared")
	case f.executable && !f.anonymous:
		return console.Usagef("--with-executables is only for --anonymous")
	case f.diff && f.form == "csv":
		return console.Usagef("--diff has no form csv: use json")
	case len(f.profiles) == 0:
		return console.Usagef("--profile must not be empty")
	case f.list && f.baseline != "":
		return console.Usagef("--list-rules and --baseline exclude each other")
	}
	return nil
}

// set returns all rules: the built-in ones, the administrator's, and those from --rules.
func (f *flags) set(e *console.Environment) (*rules.Set, error) {
	files, err := rules.Files(e.RulesDirs...)
	if err != nil {
		return nil, err
	}
	return rules.Load(append(files, f.rules...)...)
}

// pick returns the rules of the profiles.
func (f *flags) pick(e *console.Environment) (*rules.Set, error) {
	set, err := f.set(e)
	if err != nil {
		return nil, err
	}
	picked, err := set.Pick(f.profiles...)
	if errors.As(err, new(*rules.UnknownProfileError)) {
		return nil, console.UsageError{Err: err}
	}
	return picked, err
}

func (f *flags) run(ctx context.Context, e *console.Environment) error {
	set, err := f.pick(e)
	if err != nil {
		return err
	}
	for _, id := range f.stopped {
		if !slices.ContainsFunc(set.Rules, func(r *rules.Rule) bool { return r.ID == id }) {
			return console.Usagef("rule %q of --stopped is in none of the profiles %s: see --list-rules", id, strings.Join(f.profiles, ", "))
		}
	}
	if f.list {
		return f.write(e, func(w io.Writer, _ form.Style) error { return listRules(w, set, f.profiles) })
	}
	var baseline *report.Report
	if f.baseline != "" {
		if baseline, err = readBaseline(f.baseline); err != nil {
			return err
		}
		if f.diff || len(f.stopped) > 0 {
			f.observed.DefaultSince(baseline.End())
		}
	}
	o, err := observed.Load(ctx, e, &f.observed)
	if err != nil {
		return err
	}
	options := report.Options{
		Rules: set, Profiles: f.profiles, Now: e.Now(), Tool: "crauctl " + f.version,
		Anonymous: f.anonymous, Executables: f.executable,
	}
	if !f.observed.IsLog() {
		options.Policy = policy(e)
	}
	r := report.Make(o, options)
	if baseline != nil {
		r.Compare(baseline)
	}
	if err := f.write(e, func(w io.Writer, style form.Style) error { return form.Write(w, r, f.form, style) }); err != nil {
		return err
	}
	return f.verdict(r)
}

// verdict returns an error with the exit status for scripts, nil if they should not stop.
func (f *flags) verdict(r *report.Report) error {
	for _, id := range f.stopped {
		if err := r.Confirm(id); err != nil {
			return &console.StatusError{Status: console.ExitFindings, Err: fmt.Errorf("%s: %w", id, err)}
		}
	}
	if (f.exitCode || f.diff) && r.Failed() {
		return &console.StatusError{Status: console.ExitFindings}
	}
	return nil
}

func readBaseline(name string) (*report.Report, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("cannot read baseline: %w", err)
	}
	defer file.Close()
	baseline, err := report.ReadBaseline(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read baseline %s: %w", name, err)
	}
	return baseline, nil
}

// policy returns the crypto-policy in force on this machine, empty if there is none.
func policy(e *console.Environment) string {
	name, _, err := cryptopolicy.Machine{Etc: e.PolicyEtc, Share: e.PolicyShare}.Applied()
	if err != nil {
		return ""
	}
	return name
}

// write writes to standard output, text on a terminal through a pager.
func (f *flags) write(e *console.Environment, write func(io.Writer, form.Style) error) error {
	style := form.Style{Location: e.Location, Changes: f.diff, Color: terminal.Is(e.Stdout) && terminal.HasColor(e.Getenv)}
	pager := !f.noPager && (f.form == "text" || f.list)
	return output.Page(e, pager, func(w io.Writer) error { return write(w, style) })
}

// listRules writes the profiles, and the rules of the picked ones.
func listRules(w io.Writer, set *rules.Set, picked []string) error {
	var text strings.Builder
	text.WriteString("Profiles:\n")
	for _, p := range set.Profiles {
		mark := " "
		if slices.Contains(picked, p.Name) {
			mark = "*"
		}
		fmt.Fprintf(&text, "%s %-12s %s\n", mark, p.Name, p.Text)
	}
	fmt.Fprintf(&text, "  %-12s all rules\n\nRules of %s:\n", rules.AllProfiles, strings.Join(picked, ", "))
	for _, r := range set.Rules {
		date := "in force"
		if !r.Date.IsZero() {
			date = r.Date.Format("2006-01-02")
		}
		if r.Draft {
			date += ", draft"
		}
		fmt.Fprintf(&text, "%s [%s]\n    %s\n    %s, %s, %s %s\n", r.ID, r.Mark, r.Text, r.Axis, r.Level, date, r.Source)
	}
	text.WriteString("\nMarks of sources:\n")
	for _, mark := range rules.Marks() {
		fmt.Fprintf(&text, "  [%s] %s\n", mark, rules.MarkText(mark))
	}
	_, err := io.WriteString(w, text.String())
	return err
}
