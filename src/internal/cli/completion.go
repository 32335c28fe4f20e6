// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// bash completes the word after the last character of COMP_WORDBREAKS. Cobra removes the
// part before the last colon, but then does not find the part before the last equals
// sign of KEY=VALUE.
const (
	cobraBreaks = `    __crauctl_handle_special_char "$cur" :
    __crauctl_handle_special_char "$cur" =
`
	ourBreaks = `    if [[ $cur == *=* && $COMP_WORDBREAKS == *=* ]]; then
        __crauctl_handle_special_char "$cur" =
    else
        __crauctl_handle_special_char "$cur" :
    fi
`
)

// addCompletion adds crauctl completion.
func addCompletion(root *cobra.Command) {
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.InitDefaultCompletionCmd()
	bash, _, err := root.Find([]string{"completion", "bash"})
	if err != nil || bash.Name() != "bash" {
		panic("cobra has no completion for bash")
	}
	bash.RunE = func(command *cobra.Command, _ []string) error {
		none, err := command.Flags().GetBool("no-descriptions")
		if err != nil {
			return err
		}
		var script bytes.Buffer
		if err := root.GenBashCompletionV2(&script, !none); err != nil {
			return fmt.Errorf("cannot make completions: %w", err)
		}
		if _, err := command.OutOrStdout().Write([]byte(strings.Replace(script.String(), cobraBreaks, ourBreaks, 1))); err != nil {
			return fmt.Errorf("cannot write output: %w", err)
		}
		return nil
	}
}
