// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// A completion takes at most connectTime, as the broker may have to be started. After
// readTime it begins no further part of the log: users wait for it at each key press.
const (
	connectTime = 2 * time.Second
	readTime    = 300 * time.Millisecond
)

// completionPage is the number of entries that a completion reads at a time, which takes
// some milliseconds.
const completionPage = 4096

// completeNames completes --unit and --executable with the names in the newest part of
// the log.
func (f *queryFlags) completeNames(command *cobra.Command, e *console.Environment) {
	for option, add := range map[string]func(*event.Group, func([]byte)){
		"unit": func(g *event.Group, add func([]byte)) { add(g.Unit) },
		"executable": func(g *event.Group, add func([]byte)) {
			add(g.Executable)
			for i := range g.Events {
				add(g.Events[i].Executable)
			}
		},
	} {
		console.MustComplete(command, option, func(command *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			return inOrder(f.newestNames(command, e, typed, add))
		})
	}
}

// inOrder returns words as a completion in this order, without file names.
func inOrder(words []string) ([]string, cobra.ShellCompDirective) {
	if len(words) == 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// word returns a name of the log in the form in which it can be typed, escaped if
// needed.
func word(name []byte) string {
	for _, c := range name {
		if c < ' ' || c > '~' {
			return string(event.Escaped(name))
		}
	}
	return string(name)
}

// completion returns a query that finds the words of a completion. It never prompts for a
// password.
func (f *queryFlags) completion(e *console.Environment) *query {
	quiet := *e
	quiet.Stdin = nil
	return &query{queryFlags: *f, environment: &quiet, boot: source.BootTime{Machine: e.BootTime}}
}

// completionContext is the context of a completion.
func completionContext(command *cobra.Command) (context.Context, context.CancelFunc) {
	ctx := command.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	return context.WithTimeout(ctx, connectTime)
}

// newestNames returns the names in the newest part of the log that add finds and that
// begin with typed, newest first. Errors are silent.
func (f *queryFlags) newestNames(command *cobra.Command, e *console.Environment, typed string, add func(*event.Group, func([]byte))) (list []string) {
	if len(f.files) > 0 {
		return nil // files can only be read from their beginning
	}
	ctx, cancel := completionContext(command)
	defer cancel()
	log, err := f.completion(e).openFor(ctx, logstore.Query{}, client.Filter{})
	if err != nil {
		return nil
	}
	defer log.Close()
	at, _, err := log.Ends()
	if err != nil {
		return nil
	}
	begun := time.Now()
	late := func() bool { return time.Since(begun) > readTime }
	seen := map[string]bool{"": true}
	for first, more := true, true; more; first = false {
		from, before, err := log.StepBack(at, completionPage)
		if err == nil && before {
			_, err = log.Seek(from)
		} else if err == nil {
			err = log.Rewind()
		}
		if err != nil {
			return list
		}
		var page []string
		read := func(name []byte) {
			if !seen[string(name)] {
				seen[string(name)] = true
				if text := word(name); strings.HasPrefix(text, typed) {
					page = append([]string{text}, page...)
				}
			}
		}
		var g event.Group
		for n := 0; first || n%256 != 0 || !late(); n++ {
			_, _, err := log.Next(&g)
			if errors.As(err, new(*source.GapError)) {
				continue
			}
			if err != nil || log.Sequence() > at.Sequence {
				break
			}
			add(&g, read)
		}
		list = append(list, page...)
		at, more = from, before && !late()
	}
	return list
}
