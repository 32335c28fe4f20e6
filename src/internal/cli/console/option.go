// SPDX-License-Identifier: Apache-2.0

package console

import "github.com/spf13/cobra"

// MustComplete registers the completion of an option, which must exist.
func MustComplete(command *cobra.Command, name string, complete cobra.CompletionFunc) {
	if err := command.RegisterFlagCompletionFunc(name, complete); err != nil {
		panic(err)
	}
}
