// SPDX-License-Identifier: Apache-2.0

package logctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/cli/bus"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/event"
)

// NewSubscriptionsCommand returns crauctl subscriptions.
func NewSubscriptionsCommand(e *console.Environment) *cobra.Command {
	var output console.ReportOption
	command := &cobra.Command{
		Use:   "subscriptions",
		Short: "List subscriptions to the log, and their progress",
		Long: `Subscriptions lists the subscriptions of this user, for root those of all users.
A durable subscription has a name and is kept while its program does not run;
entries that it has not read may be kept in the log. An ephemeral one ends with
its program.
` + exitBusHelp,
		Args: console.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := output.Check(); err != nil {
				return err
			}
			return listSubscriptions(command.Context(), e, &output)
		},
	}
	output.Add(command)
	command.AddCommand(newDeleteCommand(e))
	return command
}

func newDeleteCommand(e *console.Environment) *cobra.Command {
	var owner string
	command := &cobra.Command{
		Use:   "delete NAME...",
		Short: "Delete durable subscriptions",
		Long: `Delete deletes durable subscriptions. Their programs receive nothing more, and the
log is no longer kept for them.
` + exitBusHelp,
		Args: console.Arguments("NAME"),
		ValidArgsFunction: func(command *cobra.Command, already []string, _ string) ([]string, cobra.ShellCompDirective) {
			return completeSubscription(command.Context(), e, already)
		},
		RunE: func(command *cobra.Command, names []string) error {
			return deleteSubscriptions(command.Context(), e, names, owner)
		},
	}
	command.Flags().StringVar(&owner, "user", "", "delete the subscriptions of `USER`, a name or number; for root")
	return command
}

func listSubscriptions(ctx context.Context, e *console.Environment, output *console.ReportOption) error {
	c, err := bus.Connect(ctx, e)
	if err != nil {
		return err
	}
	defer c.Close()
	list, err := c.Subscriptions(ctx)
	if err != nil {
		return bus.Error(err)
	}
	slices.SortStableFunc(list, func(a, b client.SubscriptionInfo) int {
		if n := strings.Compare(a.Name, b.Name); n != 0 && a.Name != "" && b.Name != "" {
			return n
		} else if n != 0 {
			return -n // ephemeral subscriptions last
		}
		return int(a.User) - int(b.User)
	})
	return output.Write(e.Stdout, console.Report{
		Text: func(w io.Writer) error { return writeSubscriptions(w, list, e.Location) },
		JSON: subscriptionsJSON(list),
	})
}

func writeSubscriptions(w io.Writer, list []client.SubscriptionInfo, location *time.Location) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "There are no subscriptions.")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tUSER\tATTACHED\tDELIVERED\tPENDING\tSKIPPED\tFLOW\tSINCE\tFILTER")
	for i := range list {
		s := &list[i]
		name, attached, since := s.Name, "no", "-"
		if name == "" {
			name = "-"
		}
		if s.Attached {
			attached = "yes"
		}
		if !s.Created.IsZero() {
			since = s.Created.In(location).Format(time.DateTime)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n",
			event.Escaped(name), userName(s.User), attached, s.Delivered, s.Pending, s.Skipped, event.Escaped(s.Flow), since, filterText(&s.Filter, location))
	}
	return table.Flush()
}

// userName returns the name of a user, or the number if there is no name.
func userName(id uint32) string {
	number := strconv.FormatUint(uint64(id), 10)
	u, err := user.LookupId(number)
	if err != nil {
		return number
	}
	return u.Username
}

// filterText formats a filter in one line.
func filterText(f *client.Filter, location *time.Location) string {
	var parts []string
	fields := f.Lists()
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		parts = append(parts, name+"="+event.Escaped(strings.Join(fields[name], ",")))
	}
	for name, t := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !t.IsZero() {
			parts = append(parts, name+"="+t.In(location).Format(time.DateTime))
		}
	}
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, " ")
}

// subscriptionJSON is a subscription in the JSON form. Times are seconds since
// the Unix epoch, as in the JSON of a query.
type subscriptionJSON struct {
	Name      string              `json:"name"`
	User      uint32              `json:"user"`
	Attached  bool                `json:"attached"`
	Position  string              `json:"position"`
	Delivered uint64              `json:"delivered"`
	Pending   uint64              `json:"pending"`
	Skipped   uint64              `json:"skipped"`
	Flow      string              `json:"flow"`
	Created   float64             `json:"created,omitempty"`
	Filter    map[string][]string `json:"filter"`
	Since     float64             `json:"since,omitempty"`
	Until     float64             `json:"until,omitempty"`
}

func epochSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}

// subscriptionsJSON returns an object per subscription.
func subscriptionsJSON(list []client.SubscriptionInfo) (values []any) {
	for i := range list {
		s := &list[i]
		values = append(values, subscriptionJSON{
			Name: s.Name, User: s.User, Attached: s.Attached, Position: string(s.Position),
			Delivered: s.Delivered, Pending: s.Pending, Skipped: s.Skipped, Flow: s.Flow, Created: epochSeconds(s.Created),
			Filter: s.Filter.Lists(), Since: epochSeconds(s.Filter.Since), Until: epochSeconds(s.Filter.Until),
		})
	}
	return values
}

// deleteSubscriptions deletes all subscriptions that it can; the error joins the failures.
func deleteSubscriptions(ctx context.Context, e *console.Environment, names []string, owner string) error {
	c, err := bus.Connect(ctx, e)
	if err != nil {
		return err
	}
	defer c.Close()
	var errs []error
	if owner == "" {
		for _, name := range names {
			errs = append(errs, bus.Error(c.DeleteSubscription(ctx, name)))
		}
		return errors.Join(errs...)
	}
	id, err := userID(owner)
	if err != nil {
		return err
	}
	list, err := c.Subscriptions(ctx)
	if err != nil {
		return bus.Error(err)
	}
	for _, name := range names {
		i := slices.IndexFunc(list, func(s client.SubscriptionInfo) bool { return s.User == id && s.Name == name && name != "" })
		if i < 0 {
			errs = append(errs, fmt.Errorf("cannot delete subscription %q: %w", name, client.ErrNoSuchSubscription))
			continue
		}
		errs = append(errs, bus.Error(c.End(ctx, list[i])))
	}
	return errors.Join(errs...)
}

func userID(owner string) (uint32, error) {
	if id, err := strconv.ParseUint(owner, 10, 32); err == nil {
		return uint32(id), nil
	}
	u, err := user.Lookup(owner)
	if err != nil {
		return 0, console.Usagef("unknown --user %q: it must be the name or number of a user", owner)
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("cannot read the number of user %s: %w", owner, err)
	}
	return uint32(id), nil
}

// completeSubscription completes the names of durable subscriptions that the user may
// list without authentication.
func completeSubscription(ctx context.Context, e *console.Environment, already []string) ([]string, cobra.ShellCompDirective) {
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	quiet := *e
	quiet.Stdin = nil // no prompt for a password
	c, err := bus.Connect(ctx, &quiet)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer c.Close()
	list, err := c.Subscriptions(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, s := range list {
		if s.Name != "" && !slices.Contains(already, s.Name) {
			names = append(names, s.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
