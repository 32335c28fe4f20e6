// SPDX-License-Identifier: Apache-2.0

package agentctl

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/status"
)

// NewMetricsCommand returns crauctl metrics.
func NewMetricsCommand(e *console.Environment) *cobra.Command {
	var f agentFlags
	var file string
	command := &cobra.Command{
		Use:   "metrics",
		Short: "Print the agent's counters for Prometheus",
		Long: `Metrics prints the agent's status in the text format of Prometheus. With
--output it replaces a file atomically, as the textfile collector of
node_exporter expects, which reads files whose names end in .prom. If the agent
does not run or answer, the file only contains crypto_auditing_up 0, and the
command fails. It never starts the agent.
` + exitAgentHelp,
		Example: `  crauctl metrics --output /var/lib/prometheus/node-exporter/crypto-auditing.prom`,
		Args:    console.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			var agent *status.Agent
			var err error
			if command.Flags().Changed("socket") {
				agent, err = f.status(command.Context())
			} else {
				agent, _, err = f.runningStatus(command.Context(), e)
			}
			text := status.Metrics(agent)
			if file != "" {
				if writeErr := replaceFile(file, text); err == nil {
					err = writeErr
				}
				return err
			}
			if err != nil {
				return err
			}
			if _, err := e.Stdout.Write(text); err != nil {
				return fmt.Errorf("cannot write output: %w", err)
			}
			return nil
		},
	}
	f.addSocket(command)
	command.Flags().StringVar(&file, "output", "", "replace `FILE` instead of printing")
	console.CompleteFiles(command, "output")
	return command
}

// replaceFile replaces a file atomically, readable for all. The new content need not
// survive a crash: it is soon written again.
func replaceFile(path string, text []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot replace %s: %w", path, err)
		}
	}()
	// The collector ignores names that do not end in .prom.
	draft, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(draft.Name()) // the error above is more useful
		}
	}()
	_, err = draft.Write(text)
	if err == nil {
		err = draft.Chmod(0o644)
	}
	if closeErr := draft.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(draft.Name(), path)
}
