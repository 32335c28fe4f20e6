// SPDX-License-Identifier: Apache-2.0

// Package observed has the options of the commands about the cryptography that programs used, and loads
// the observations for them.
package observed

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/selection"
	"crypto-auditing/src/internal/cli/timespec"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/schema"
)

// Flags are the values of the options. Add must have added them to a command.
type Flags struct {
	directory    string
	files        []string
	since, until string
	executables  []string
	units        []string
	registry     []string

	given func(option string) bool
	// earliest is the beginning of the period if --since is not given.
	earliest time.Time
}

// Help is the last part of the help of a command with the options.
const Help = `
--since and --until accept RFC 3339, "YYYY-MM-DD HH:MM:SS" with or without a time
zone, only a date or a time, now, today, yesterday, tomorrow, @SECONDS since
the epoch, -1h30min, "2 hours ago".

Exit status:
  0    success; the answer counts what could not be read
  1    failure
  2    bad usage: an invalid option, argument or time
  3    not authorised to read the log
  130  interrupted
`

// Add adds the options to a command, with their completion.
func (f *Flags) Add(command *cobra.Command, e *console.Environment) {
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringVarP(&f.directory, "directory", "D", "", "count the log in directory `DIR` instead of asking the inventory")
	flags.StringArrayVar(&f.files, "file", nil, "count the operations in a log `FILE` of any form; may be repeated")
	flags.StringVarP(&f.since, "since", "S", "", "include operations that began at `TIME` or later")
	flags.StringVarP(&f.until, "until", "U", "", "include operations that began at `TIME` or earlier")
	flags.StringArrayVar(&f.executables, "executable", nil, "include only the program `NAME`, a pattern as of glob(7); may be repeated")
	flags.StringArrayVarP(&f.units, "unit", "u", nil, "include only the systemd unit `UNIT`, a pattern as of glob(7); may be repeated")
	flags.StringArrayVar(&f.registry, "registry", nil, "add the registry `FILE` to the known contexts and keys")
	console.CompleteDirectories(command, "directory")
	console.CompleteFiles(command, "file", "registry")
	f.given = flags.Changed
	for option, field := range map[string]string{"executable": "executable", "unit": "unit"} {
		console.MustComplete(command, option, func(command *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return f.completeValues(command.Context(), e, field, typed), cobra.ShellCompDirectiveNoFileComp
		})
	}
}

// DefaultSince sets the beginning of the period if --since is not given.
func (f *Flags) DefaultSince(since time.Time) { f.earliest = since }

// IsLog reports whether the options select a log instead of the inventory of this machine.
func (f *Flags) IsLog() bool { return f.given("directory") || f.given("file") }

// period returns the ends of the time that the options select, zero where none is given.
func (f *Flags) period(e *console.Environment) (since, until time.Time, err error) {
	now := e.Now().In(e.Location)
	since = f.earliest
	if f.given("since") {
		if since, err = timespec.Parse(f.since, now); err != nil {
			return since, until, fmt.Errorf("cannot read --since: %w", err)
		}
	}
	if f.given("until") {
		if until, err = timespec.Parse(f.until, now); err != nil {
			return since, until, fmt.Errorf("cannot read --until: %w", err)
		}
		if since.After(until) {
			return since, until, console.Usagef("--since is later than --until")
		}
	}
	return since, until, nil
}

// Registry returns the registry with the files of the administrator and of the command line.
func (f *Flags) Registry(e *console.Environment) (*schema.Registry, error) {
	files, err := schema.Files(e.RegistryDirs...)
	if err != nil {
		return nil, err
	}
	return schema.Load(append(files, f.registry...)...)
}

// names are the selected programs and units.
type names struct{ programs, units selection.Names }

func (f *Flags) names() (n names, err error) {
	if n.programs, err = selection.NewPrograms(f.executables); err != nil {
		return n, err
	}
	n.units, err = selection.NewUnits(f.units)
	return n, err
}

// all reports whether all programs and units are selected.
func (n *names) all() bool { return n.programs.Any() && n.units.Any() }

func (n *names) haveProgram(name string) bool { return n.programs.Any() || n.programs.Have(name) }

func (n *names) haveUnit(name string) bool { return n.units.Any() || name != "" && n.units.Have(name) }

// keep returns the condition for selected uses, nil if all are selected.
func (n *names) keep() func(*row.Use) bool {
	if n.all() {
		return nil
	}
	return func(u *row.Use) bool { return n.haveProgram(u.Executable) && n.haveUnit(u.Unit) }
}
