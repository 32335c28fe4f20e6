// SPDX-License-Identifier: Apache-2.0

package logctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/cli/bus"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/quantity"
)

// exitBusHelp ends the help of commands that only the broker can do.
const exitBusHelp = `
Exit status:
  0    success
  1    failure, as when the broker or the agent cannot be reached
  2    bad usage: an option or argument that cannot be
  3    this user may not do it
  130  interrupted
`

// vacuumFlags are the options of crauctl vacuum as given; empty: not given.
type vacuumFlags struct {
	age, size, free, reading, hold string
	force                          bool
	output                         console.ReportOption
}

// NewVacuumCommand returns crauctl vacuum.
func NewVacuumCommand(e *console.Environment) *cobra.Command {
	var f vacuumFlags
	command := &cobra.Command{
		Use:   "vacuum",
		Short: "Remove the oldest parts of the log",
		Long: `Vacuum removes whole files of the log, oldest first, never the one that is
written to: as the broker is configured, or as the options say instead.
Subscriptions that had not read what was removed are told.

A TIME is a sum of numbers with units, as 2weeks or "1month 3d" (systemd.time(7)).
A SIZE is a number with K, M, G or T, as 512M, or a percentage of the file system
of the log, as 10%. 0 is no limit.

To remove the whole log at once, every file but the one that is written to, takes
--force if those are two or more.
` + exitBusHelp,
		Example: `  crauctl vacuum
  crauctl vacuum --vacuum-time=2weeks
  crauctl vacuum --vacuum-size=1G`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			retention, err := f.retention(command.Flags().Changed)
			if err != nil {
				return err
			}
			return vacuum(command.Context(), e, retention, &f.output)
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.age, "vacuum-time", "", "remove what is older than `TIME`")
	flags.StringVar(&f.size, "vacuum-size", "", "keep no more than `SIZE`")
	flags.StringVar(&f.free, "keep-free", "", "leave `SIZE` of the file system free")
	flags.StringVar(&f.reading, "reading", "", "what all durable subscriptions have read goes (drop), what they have not stays (keep), or it does not matter (ignore): `WORD`")
	flags.StringVar(&f.hold, "hold", "", "let a subscription that lags hold the log for `TIME` at most")
	flags.BoolVar(&f.force, "force", false, "remove also the whole log at once")
	f.output.Add(command)
	console.MustComplete(command, "reading", cobra.FixedCompletions(readings(), cobra.ShellCompDirectiveNoFileComp))
	return command
}

func readings() []string {
	return []string{string(client.ReadingIgnored), string(client.ReadingKeeps), string(client.ReadingDrops)}
}

// retention returns what the options that are given say.
func (f *vacuumFlags) retention(given func(name string) bool) (client.Retention, error) {
	r := client.Retention{Force: f.force}
	var errs []error
	if given("vacuum-time") {
		span, err := limitingSpan(f.age)
		r.MaxAge = &span
		errs = append(errs, optionError("--vacuum-time", err))
	}
	if given("hold") {
		span, err := limitingSpan(f.hold)
		r.Hold = &span
		errs = append(errs, optionError("--hold", err))
	}
	if given("vacuum-size") {
		var err error
		r.MaxSize, r.MaxSizePercent, err = sizeOrShare(f.size)
		errs = append(errs, optionError("--vacuum-size", err))
	}
	if given("keep-free") {
		var err error
		r.KeepFree, r.KeepFreePercent, err = sizeOrShare(f.free)
		errs = append(errs, optionError("--keep-free", err))
	}
	if given("reading") {
		r.Reading = client.Reading(f.reading)
		switch r.Reading {
		case client.ReadingIgnored, client.ReadingKeeps, client.ReadingDrops:
		default:
			errs = append(errs, console.Usagef("unknown --reading %q: there are %s", f.reading, strings.Join(readings(), ", ")))
		}
	}
	return r, errors.Join(append(errs, f.output.Check())...)
}

func optionError(option string, err error) error {
	if err != nil {
		return console.Usagef("cannot read %s: %w", option, err)
	}
	return nil
}

// limitingSpan reads a duration that limits something; infinity is no limit.
func limitingSpan(text string) (time.Duration, error) {
	span, err := quantity.ParseDuration(text, 0)
	if span == quantity.Infinity {
		span = 0
	}
	return span, err
}

// sizeOrShare reads a number of bytes or a percentage; one of them is returned.
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

// vacuum has the broker truncate the log and says what went.
func vacuum(ctx context.Context, e *console.Environment, r client.Retention, output *console.ReportOption) error {
	c, err := bus.Connect(ctx, e)
	if err != nil {
		return err
	}
	defer c.Close()
	removed, err := c.Truncate(ctx, r)
	if errors.Is(err, fs.ErrPermission) {
		// The group does not help here.
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
			text := "nothing had to go"
			if removed.Segments > 0 {
				text = fmt.Sprintf("removed %s, %s", render.Counted(uint64(removed.Segments), "segment"), render.Size(int64(removed.Bytes)))
			}
			_, err := fmt.Fprintln(w, text)
			return err
		},
	})
}
