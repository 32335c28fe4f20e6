// SPDX-License-Identifier: Apache-2.0

// Package selection selects the operations that crauctl query and monitor show.
package selection

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

// Options are the values of the options that select operations.
type Options struct {
	// Boot selects operations that began since this machine was booted.
	Boot bool

	since, until string
	executables  []string
	units        []string
	sources      []string
	contexts     []string
	registry     []string
	grep         string
}

// Add adds the options that query and monitor share to a command, and the completion of
// them and of its matches.
func (o *Options) Add(command *cobra.Command, e *console.Environment) {
	flags := command.Flags()
	flags.StringArrayVar(&o.executables, "executable", nil, "show what the program `NAME` did, a pattern as of glob(7); may be repeated")
	flags.StringArrayVarP(&o.units, "unit", "u", nil, "show what processes of the systemd unit `UNIT` did, a pattern as of glob(7); may be repeated")
	flags.StringArrayVar(&o.sources, "source", nil, "show what was captured by `SOURCE`: usdt, function or wire; may be repeated")
	flags.StringArrayVar(&o.contexts, "context", nil, "show operations with a context `NAME`, or tls::*; may be repeated")
	flags.StringVarP(&o.grep, "grep", "g", "", "show operations whose text matches the regular expression `PATTERN`")
	flags.StringArrayVar(&o.registry, "registry", nil, "add the registry `FILE` to the known contexts and keys")
	console.MustComplete(command, "source", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var list []string
		for _, source := range event.Sources() {
			list = append(list, string(source))
		}
		return list, cobra.ShellCompDirectiveNoFileComp
	})
	console.CompleteFiles(command, "registry")
	console.MustComplete(command, "context", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return o.completeContext(e)
	})
	command.Args = matchArguments
	command.ValidArgsFunction = func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return o.completeMatch(e, typed)
	}
}

// AddTimes adds the options that select by time.
func (o *Options) AddTimes(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVarP(&o.since, "since", "S", "", "show what began at `TIME` or later")
	flags.StringVarP(&o.until, "until", "U", "", "show what was recorded at `TIME` or earlier")
}

// matchArguments accepts arguments KEY=VALUE.
func matchArguments(_ *cobra.Command, arguments []string) error {
	for _, argument := range arguments {
		if !strings.Contains(argument, "=") {
			return fmt.Errorf("%q is not a match: it must be of the form KEY=VALUE or KEY!=VALUE", argument)
		}
	}
	return nil
}

// Registry returns the registry with the files of the administrator and of the command
// line.
func (o *Options) Registry(e *console.Environment) (*schema.Registry, error) {
	files, err := schema.Files(e.RegistryDirs...)
	if err != nil {
		return nil, err
	}
	return schema.Load(append(files, o.registry...)...)
}

func (o *Options) completeContext(e *console.Environment) ([]string, cobra.ShellCompDirective) {
	registry, err := o.Registry(e)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var list []string
	for _, name := range registry.Contexts() {
		list = append(list, name+"\t"+registry.Context(name).Description)
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// CompleteKey completes the keys of data, and the keys that every context has.
func (o *Options) CompleteKey(e *console.Environment) ([]string, cobra.ShellCompDirective) {
	registry, err := o.Registry(e)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list := []string{"executable\tthe program", "origin\tthe build-id of the library"}
	for _, key := range registry.Keys() {
		list = append(list, key+"\t"+registry.Key(key).Description)
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// completeMatch completes KEY=, and then the names of its numbers.
func (o *Options) completeMatch(e *console.Environment, typed string) ([]string, cobra.ShellCompDirective) {
	registry, err := o.Registry(e)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var list []string
	if key, _, ok := strings.Cut(typed, "="); ok {
		if strings.TrimSuffix(key, "!") == keyQuantum {
			for _, value := range quantumValues() {
				list = append(list, key+"="+value)
			}
		}
		for _, known := range scoped(registry, strings.TrimSuffix(key, "!")) {
			for _, name := range registry.Key(known).Names() {
				list = append(list, key+"="+name)
			}
		}
		return list, cobra.ShellCompDirectiveNoFileComp
	}
	for _, key := range registry.Keys() {
		list = append(list, key+"=\t"+registry.Key(key).Description)
	}
	list = append(list, keyQuantum+"=\twhether established keys resist quantum computers")
	return list, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}
