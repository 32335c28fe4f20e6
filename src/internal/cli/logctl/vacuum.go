// SPDX-License-Identifier: Apache-2.0

package logctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/cli/bus"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/quantity"
	"crypto-auditing/src/internal/retention"
)

// exitBusHelp is the last part of the help of commands that need the broker.
const exitBusHelp = `
Exit status:
  0    success
  1    failure, such as an unreachable broker or agent
  2    bad usage: an invalid option or argument
  3    not authorised
  130  interrupted
`

// NewVacuumCommand returns crauctl vacuum.
func NewVacuumCommand(e *console.Environment) *cobra.Command {
	var changes client.Retention
	var output console.ReportOption
	// The option values as given, by the key of their rule.
	given := map[string]*string{}
	command := &cobra.Command{
		Use:   "vacuum",
		Short: "Remove the oldest parts of the log",
		Long: `Vacuum removes the oldest segments of the log as a whole, never the active one,
by the limits of the broker's configuration or of the options. Subscriptions
that had not read the removed entries are notified.

A TIME is a sum of numbers with units, such as 2weeks or "1month 3d"
(systemd.time(7)). A SIZE is a number with K, M, G or T, such as 512M, or a
percentage of the file system of the log, such as 10%. 0 means no limit.

Removing all segments except the active one requires --force, unless that is only
one segment.
` + exitBusHelp,
		Example: `  crauctl vacuum
  crauctl vacuum --vacuum-time=2weeks
  crauctl vacuum --vacuum-size=1G`,
		Args: console.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			var errs []error
			for _, r := range changes.Rules() {
				if text := given[r.Key]; text != nil && command.Flags().Changed(r.Option) {
					errs = append(errs, read(&changes, &r, *text))
				}
			}
			if err := errors.Join(append(errs, output.Check())...); err != nil {
				return err
			}
			return vacuum(command.Context(), e, changes, &output)
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	for _, r := range changes.Rules() {
		switch value := r.Value.(type) {
		case *bool:
			flags.BoolVar(value, r.Option, false, r.Help)
		case *uint32: // set by the option of the limit, if that is a percentage
		default:
			given[r.Key] = flags.String(r.Option, "", r.Help)
		}
	}
	output.Add(command)
	console.MustComplete(command, "reading", cobra.FixedCompletions(retention.Readings(), cobra.ShellCompDirectiveNoFileComp))
	return command
}

// read parses the value of an option into its rule.
func read(changes *client.Retention, r *retention.Rule, text string) (err error) {
	switch value := r.Value.(type) {
	case **time.Duration:
		var span time.Duration
		span, err = limitingSpan(text)
		*value = &span
	case **uint64:
		var share uint32
		*value, share, err = sizeOrShare(text)
		changes.Share(r.Key, share)
	case *client.Reading:
		if !slices.Contains(retention.Readings(), text) {
			return console.Usagef("unknown --%s %q: there are %s", r.Option, text, strings.Join(retention.Readings(), ", "))
		}
		*value = client.Reading(text)
	}
	if err != nil {
		return console.Usagef("cannot read --%s: %w", r.Option, err)
	}
	return nil
}

// limitingSpan parses a duration that is a limit; "infinity" yields 0, which means no limit.
func limitingSpan(text string) (time.Duration, error) {
	span, err := quantity.ParseDuration(text, 0)
	if span == quantity.Infinity {
		span = 0
	}
	return span, err
}

// sizeOrShare parses a number of bytes or a percentage and returns one of them.
func sizeOrShare(text string) (size *uint64, percent uint32, err error) {
	if p, ok := quantity.ParsePercent(text); ok && p > 0 {
		return nil, uint32(p), nil
	} else if ok {
		return new(uint64), 0, nil
	}
	n, err := quantity.ParseSize(text, quantity.ShareHelp)
	bytes := uint64(n)
	return &bytes, 0, err
}

// vacuum makes the broker truncate the log and prints what was removed.
func vacuum(ctx context.Context, e *console.Environment, r client.Retention, output *console.ReportOption) error {
	c, err := bus.Connect(ctx, e)
	if err != nil {
		return err
	}
	defer c.Close()
	removed, err := c.Truncate(ctx, r)
	if errors.Is(err, fs.ErrPermission) {
		// Membership in the group is not sufficient.
		return &console.RemedyError{Text: "not authorised to remove a part of the log: use sudo", Err: err}
	}
	if err != nil {
		return bus.Error(err)
	}
	return output.Write(e.Stdout, console.Report{
		JSON: []any{struct {
			Bytes    uint64 `json:"bytes"`
			Segments uint32 `json:"segments"`
			Oldest   string `json:"oldest"`
		}{removed.Bytes, removed.Segments, string(removed.Oldest)}},
		Text: func(w io.Writer) error {
			text := "nothing to remove"
			if removed.Segments > 0 {
				text = fmt.Sprintf("removed %s, %s", render.Counted(uint64(removed.Segments), "segment"), render.Size(int64(removed.Bytes)))
			}
			_, err := fmt.Fprintln(w, text)
			return err
		},
	})
}
