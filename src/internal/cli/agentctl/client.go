// SPDX-License-Identifier: Apache-2.0

// Package agentctl implements the commands of crauctl that query or control the agent:
// status, metrics, flush and rotate.
package agentctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/varlinkservice/agentclient"
)

// answerTime is the timeout for replies of the agent. The agent's own limit for a
// request is 30 s.
const answerTime = 45 * time.Second

const exitAgentHelp = `
Exit status:
  0    success
  1    failure, also if the agent does not run
  2    bad usage
  3    not authorised
  130  interrupted
`

// agentFlags are the options of the commands that call the agent.
type agentFlags struct {
	socket string
	output console.ReportOption
}

func (f *agentFlags) addSocket(command *cobra.Command) {
	defer console.CompleteFiles(command, "socket")
	command.Flags().StringVar(&f.socket, "socket", agentclient.Socket, "ask the agent at `PATH`")
}

// call calls a method of the agent. action names the action for errors, as in "cannot flush".
func (f *agentFlags) call(ctx context.Context, action string, method func(context.Context, agentclient.Client) error) error {
	answering, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err := method(answering, agentclient.Client{Path: f.socket})
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("cannot %s: %w", action, f.explain(err))
}

// explain converts an error of the agent's client to one that names the remedy.
func (f *agentFlags) explain(err error) error {
	var denied *agentclient.DeniedError
	var limit *agentclient.LimitError
	var unavailable *agentclient.UnavailableError
	var failed *agentclient.FailedError
	var other *agentclient.UnknownError
	var notJSON *json.SyntaxError
	var notType *json.UnmarshalTypeError
	var dialed *net.OpError
	switch {
	case errors.As(err, &denied) && denied.Allowed == "root":
		return &console.RemedyError{Text: "not authorised: only root may: use sudo", Err: fs.ErrPermission}
	case errors.As(err, &denied):
		return &console.RemedyError{Text: "not authorised: only " + printable(denied.Allowed) + " may: join the group crypto-auditing or use sudo", Err: fs.ErrPermission}
	case errors.As(err, &limit):
		return fmt.Errorf("the agent has reached a limit, %d %s: try again later", limit.Maximum, printable(limit.Limit))
	case errors.As(err, &unavailable):
		return fmt.Errorf("the agent cannot do this now: %s", printable(unavailable.Reason))
	case errors.As(err, &failed):
		return fmt.Errorf("the agent failed: %s", printable(failed.Problem))
	case errors.Is(err, agentclient.ErrNotAgent):
		return fmt.Errorf("the service at %s is not the agent, or has another version: see systemctl status crypto-auditing-agent", f.socket)
	case errors.As(err, &other):
		return fmt.Errorf("the agent returned an unknown error: %s", printable(other.Name))
	case errors.As(err, &notJSON):
		return fmt.Errorf("the service at %s does not answer like an agent: %w", f.socket, notJSON)
	case errors.As(err, &notType):
		return fmt.Errorf("the service at %s does not answer like an agent: %w", f.socket, notType)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the agent at %s has not answered within %v: see systemctl status crypto-auditing-agent", f.socket, answerTime)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("not authorised to ask the agent at %s: %w: join the group crypto-auditing or use sudo", f.socket, fs.ErrPermission)
	case errors.As(err, &dialed) && dialed.Op == "dial":
		return fmt.Errorf("cannot reach the agent at %s: %w: is crypto-auditing-agent.socket active?", f.socket, dialed.Err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return fmt.Errorf("the agent at %s has closed the connection: it is ending, or has too many: try again", f.socket)
	}
	return err
}

// printable replaces control characters, so that foreign text cannot control a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}
