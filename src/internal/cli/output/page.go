// SPDX-License-Identifier: Apache-2.0

package output

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/terminal"
)

// Page writes a text to standard output, in a pager if that is a terminal and pager is set. It is
// not an error if the reader closes the output.
func Page(e *console.Environment, pager bool, write func(w io.Writer) error) error {
	w := e.Stdout
	var process *terminal.Pager
	if file, ok := e.Stdout.(*os.File); ok && pager && terminal.Is(file) {
		var err error
		if process, err = terminal.StartPager(file, e.Lookup, false, nil); err != nil {
			return err
		}
		if process != nil {
			w = process
		}
	}
	out := bufio.NewWriter(w)
	err := write(out)
	if flushErr := out.Flush(); err == nil {
		err = flushErr
	}
	if terminal.OutputClosed(err) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("cannot write output: %w", err)
	}
	if process != nil {
		if closeErr := process.Close(); err == nil {
			err = closeErr
		}
	}
	return err
}
