// SPDX-License-Identifier: Apache-2.0

package console

import (
	"strings"

	"github.com/spf13/cobra"
)

// MustComplete registers the completion of an option, which must exist.
func MustComplete(command *cobra.Command, name string, complete cobra.CompletionFunc) {
	if err := command.RegisterFlagCompletionFunc(name, complete); err != nil {
		panic(err)
	}
}

// CompleteFiles makes the shell complete file names for options, which must exist.
func CompleteFiles(command *cobra.Command, names ...string) {
	for _, name := range names {
		MustComplete(command, name, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	}
}

// CompleteDirectories makes the shell complete directory names for an option, which must
// exist.
func CompleteDirectories(command *cobra.Command, name string) {
	MustComplete(command, name, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs))
}

// NoArguments accepts no arguments besides options.
func NoArguments(command *cobra.Command, arguments []string) error {
	if len(arguments) > 0 {
		return Usagef("%s takes no argument, but %q is one", path(command), arguments[0])
	}
	return nil
}

// Arguments accepts one argument or more; name names them in the error.
func Arguments(name string) cobra.PositionalArgs {
	return func(command *cobra.Command, arguments []string) error {
		if len(arguments) == 0 {
			return Usagef("%s needs at least one %s", path(command), name)
		}
		return nil
	}
}

// path returns the name of a command without the name of the program.
func path(command *cobra.Command) string {
	return strings.TrimPrefix(command.CommandPath(), "crauctl ")
}
