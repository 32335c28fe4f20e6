// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/cli/boots"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/query/viewer"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// chooseBoot returns the selected boot, nil if none is selected or only this machine's
// current one.
func (f *queryFlags) chooseBoot() (*boots.Spec, error) {
	if !f.named || f.bootName == console.CurrentBoot {
		return nil, nil
	}
	s, err := boots.Parse(f.bootName)
	if err != nil {
		return nil, console.Usagef("%v", err)
	}
	return &s, nil
}

// findBoots returns the boots of the log, and its unreadable parts.
func (q *query) findBoots(ctx context.Context) (list []boots.Boot, unread viewer.Gaps, err error) {
	notices, err := q.openFor(ctx, boots.Chunks(), boots.Filter())
	if err != nil {
		return nil, unread, err
	}
	defer func() { err = errors.Join(err, notices.Close()) }()
	list, err = boots.List(ctx, notices, unread.Add)
	return list, unread, err
}

// narrow finds the selected boot. Unreadable parts may hide a boot, so that the number of
// another one may be wrong.
func (q *query) narrow(ctx context.Context, notes io.Writer) error {
	list, unread, err := q.findBoots(ctx)
	if err != nil {
		return err
	}
	boot, err := q.chosen.Find(list)
	if err != nil {
		return err
	}
	for _, err := range unread.Errs {
		fmt.Fprintln(notes, "crauctl: warning: a boot may be missing where the log cannot be read:", err)
	}
	if q.follow && boot.Last != source.Newest {
		return console.Usagef("--follow shows the newest boot only, and %s is another", q.bootName)
	}
	q.shown = &boot
	return nil
}

// within returns the part of the log of the selected boot, positioned at its beginning.
func (q *query) within(log source.Store) (source.Store, error) {
	if q.shown == nil {
		return log, nil
	}
	part := source.Within(log, q.shown.After, q.shown.Last)
	if err := part.Rewind(); err != nil {
		return nil, errors.Join(err, part.Close())
	}
	return part, nil
}

// showBoots lists the boots of the log.
func (q *query) showBoots(ctx context.Context) error {
	list, unread, err := q.findBoots(ctx)
	if err != nil {
		return err
	}
	if n := len(list); n > 0 {
		if list[n-1].To, err = q.newestTime(ctx); err != nil {
			return err
		}
	}
	output := console.ReportAs(q.output)
	var values []any
	for i := range list {
		values = append(values, bootJSON(&list[i], i-len(list)+1))
	}
	if err := output.Write(q.environment.Stdout, console.Report{
		Text: func(w io.Writer) error { return writeBoots(w, list, q.environment.Location) }, JSON: values,
	}); err != nil {
		return err
	}
	if q.quiet {
		unread.Notes = nil
	}
	return unread.Report(q.environment.Stderr)
}

// newestTime returns the end of the newest entry, 0 if it cannot be read.
func (q *query) newestTime(ctx context.Context) (at int64, err error) {
	log, err := q.openFor(ctx, logstore.Query{}, client.Filter{}) // regardless of the selection
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	newest, _, err := log.Ends()
	if err != nil {
		return 0, err
	}
	from, ok, err := log.StepBack(newest, 1)
	if err == nil && ok {
		_, err = log.Seek(from)
	}
	for err == nil {
		var g event.Group
		var boot int64
		if _, boot, err = log.Next(&g); err == nil {
			at = event.WallTime(boot, g.End)
		} else if errors.As(err, new(*source.GapError)) {
			err = nil // List reports it
		}
	}
	if err == io.EOF {
		err = nil
	}
	return at, err
}

// bootTime formats a time for the table of boots.
func bootTime(at int64, location *time.Location) string {
	if at == 0 {
		return "-"
	}
	return time.Unix(0, at).In(location).Format(time.DateTime)
}

// bootID formats a boot id for the table of boots.
func bootID(b *boots.Boot) string {
	if b.ID == [16]byte{} {
		return "-"
	}
	return hex.EncodeToString(b.ID[:])
}

func writeBoots(w io.Writer, list []boots.Boot, location *time.Location) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "The log is empty.")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BOOT\tBOOT ID\tRECORDED FROM\tTO")
	for i := range list {
		b := &list[i]
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\n", i-len(list)+1, bootID(b), bootTime(b.From, location), bootTime(b.To, location))
	}
	return table.Flush()
}

// bootValue is a boot in JSON, with the keys of journalctl. Times are in microseconds
// since the Unix epoch.
type bootValue struct {
	Index int    `json:"index"`
	ID    string `json:"boot_id,omitempty"`
	From  int64  `json:"first_entry,omitempty"`
	To    int64  `json:"last_entry,omitempty"`
}

func bootJSON(b *boots.Boot, index int) bootValue {
	v := bootValue{Index: index, From: b.From / 1000, To: b.To / 1000}
	if b.ID != [16]byte{} {
		v.ID = hex.EncodeToString(b.ID[:])
	}
	return v
}

// completeBoots completes --boot with the boots of the log, newest first. Errors are
// silent.
func (f *queryFlags) completeBoots(command *cobra.Command, e *console.Environment) {
	console.MustComplete(command, "boot", func(command *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := completionContext(command)
		defer cancel()
		list, _, err := f.completion(e).findBoots(ctx)
		if err != nil || len(f.files) > 0 {
			return inOrder(nil)
		}
		var words []string
		for i := len(list) - 1; i >= 0; i-- {
			b := &list[i]
			words = append(words, fmt.Sprintf("%d\t%s, from %s", i-len(list)+1, bootID(b), bootTime(b.From, e.Location)))
		}
		return inOrder(words)
	})
}
