// SPDX-License-Identifier: Apache-2.0

// Package inventory is the Go client of org.crypto_auditing.Inventory, which counts what programs used.
package inventory

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
)

// Name is the name of the service on the bus, and of its interface.
const Name = "org.crypto_auditing.Inventory"

// Inventory calls the inventory. The first call starts it.
type Inventory struct {
	client   *client.Client
	patience time.Duration
}

// Of returns the inventory on the bus of a client, which remains open.
func Of(c *client.Client) Inventory { return Inventory{client: c} }

// Patient returns the same inventory with a timeout: for each call, for the reading of a document, and for
// Wait without progress. The error is context.DeadlineExceeded. 0 disables it.
func (i Inventory) Patient(d time.Duration) Inventory { return Inventory{i.client, d} }

// timed returns the context of a call.
func (i Inventory) timed(ctx context.Context) (context.Context, context.CancelFunc) {
	if i.patience == 0 {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, i.patience)
}

// call calls a method and stores the values of its reply.
func (i Inventory) call(ctx context.Context, method string, arguments []any, to ...any) error {
	body, err := i.body(ctx, method, arguments)
	if err != nil {
		return err
	}
	if err := dbus.Store(body, to...); err != nil {
		return fmt.Errorf("%w: %s: %w", client.ErrProtocol, method, err)
	}
	return nil
}

// body calls a method and returns the values of its reply.
func (i Inventory) body(ctx context.Context, method string, arguments []any) ([]any, error) {
	ctx, cancel := i.timed(ctx)
	defer cancel()
	return i.client.Call(ctx, Name, "/org/crypto_auditing/Inventory", method, arguments...)
}

// newest returns the cursor of the newest entry of the log.
func (i Inventory) newest(ctx context.Context) (client.Cursor, error) {
	ctx, cancel := i.timed(ctx)
	defer cancel()
	end, err := i.client.Newest(ctx)
	if err != nil {
		return "", fmt.Errorf("cannot ask how far the log goes: %w", err)
	}
	return end, nil
}

// Row counts operations that differ only in their times. Fields that were not recorded are zero.
type Row = row.Row

// Observed has the uses of a period, and their coverage.
type Observed = observed.Observed

// Filter selects rows of the inventory. The zero value selects all.
type Filter struct {
	// Values has the accepted values of fields, by the names of the fields, such as "executable" or
	// "group": a row must have one of them in each field.
	Values map[string][]string
	// Since and Until select the rows with an operation at Since or later, and one before Until; zero times
	// select all. Of such a row all operations count.
	Since, Until time.Time
}

// encode returns the filter in its form on the bus.
func (f *Filter) encode() map[string]dbus.Variant {
	m := periodOptions(f.Since, f.Until)
	for field, values := range f.Values {
		m[field] = dbus.MakeVariant(values)
	}
	return m
}

// periodOptions returns the options for a period.
func periodOptions(since, until time.Time) map[string]dbus.Variant {
	m := map[string]dbus.Variant{}
	for key, t := range map[string]time.Time{"since": since, "until": until} {
		if !t.IsZero() {
			m[key] = dbus.MakeVariant(uint64(max(t.UnixMicro(), 0)))
		}
	}
	return m
}

// Rows returns up to limit rows of the inventory, or up to client.MaxRead if limit is 0. after is
// empty, or next of the previous call; next is empty after the last row. Errors: ErrInvalidFilter,
// ErrStoreCorrupt, ErrAccessDenied, ErrUnreachable.
func (i Inventory) Rows(ctx context.Context, filter Filter, after string, limit int) (rows []Row, next string, err error) {
	limit = min(max(limit, 0), client.MaxRead)
	var list []map[string]dbus.Variant
	arguments := []any{filter.encode(), after, uint32(limit)}
	if err := i.call(ctx, Name+".List", arguments, &list, &next); err != nil {
		return nil, "", fmt.Errorf("cannot read the inventory: %w", err)
	}
	return rowsFrom(list), next, nil
}

// Summarize counts the operations of rows by fields, such as "executable" and "group"; the
// other fields of the result are zero. The most frequent row is the first. Errors: ErrInvalidArgument for
// an unknown field, ErrInvalidFilter, ErrStoreCorrupt, ErrAccessDenied, ErrUnreachable.
func (i Inventory) Summarize(ctx context.Context, by []string, filter Filter) ([]Row, error) {
	var list []map[string]dbus.Variant
	arguments := []any{append([]string{}, by...), filter.encode()}
	if err := i.call(ctx, Name+".Summarize", arguments, &list); err != nil {
		return nil, fmt.Errorf("cannot read the inventory: %w", err)
	}
	return rowsFrom(list), nil
}

// rowsFrom decodes rows.
func rowsFrom(list []map[string]dbus.Variant) []Row {
	rows := make([]Row, len(list))
	for i, m := range list {
		rows[i] = rowFrom(m)
	}
	return rows
}

// rowFrom decodes a row. It ignores unknown keys.
func rowFrom(m map[string]dbus.Variant) (r Row) {
	for _, f := range row.Fields() {
		switch to := f.Pointer(&r.Use).(type) {
		case *string:
			as(m[f.Name].Value(), to)
		case *int:
			var n uint32
			if as(m[f.Name].Value(), &n) {
				*to = int(n)
			}
		}
	}
	for key, to := range map[string]*uint64{"count": &r.Count, "failures": &r.Failures, "relays": &r.Relays} {
		as(m[key].Value(), to)
	}
	for key, to := range map[string]*time.Time{"start": &r.Start, "first": &r.First, "last": &r.Last} {
		var us uint64
		if as(m[key].Value(), &us) {
			*to = time.UnixMicro(int64(us)).UTC()
		}
	}
	var length uint64
	if as(m["length"].Value(), &length) {
		r.Length = time.Duration(length) * time.Microsecond
	}
	return r
}

// Cursor returns the cursor of the log up to which the inventory has counted, empty before the
// first entry.
func (i Inventory) Cursor(ctx context.Context) (client.Cursor, error) {
	text, err := property[string](ctx, i, "UpToDate")
	return client.Cursor(text), err
}

// property returns a property.
func property[T any](ctx context.Context, i Inventory, name string) (value T, err error) {
	var v dbus.Variant
	if err := i.call(ctx, "org.freedesktop.DBus.Properties.Get", []any{Name, name}, &v); err != nil {
		return value, fmt.Errorf("cannot ask the inventory: %w", err)
	}
	if !as(v.Value(), &value) {
		return value, fmt.Errorf("%w: property %s is of type %s", client.ErrProtocol, name, v.Signature())
	}
	return value, nil
}

// State reports whether the inventory is installed and whether it is running, without starting it.
func (i Inventory) State(ctx context.Context) (installed, running bool, err error) {
	const bus, object = "org.freedesktop.DBus", "/org/freedesktop/DBus"
	query := func(method string, to any, arguments ...any) error {
		body, err := i.client.Call(ctx, bus, object, bus+"."+method, arguments...)
		if err == nil {
			err = dbus.Store(body, to)
		}
		if err != nil {
			return fmt.Errorf("cannot ask the bus: %w", err)
		}
		return nil
	}
	if err := query("NameHasOwner", &running, Name); err != nil || running {
		return running, running, err
	}
	var names []string
	err = query("ListActivatableNames", &names)
	return slices.Contains(names, Name), false, err
}

// Status is the state of the inventory.
type Status struct {
	Version string
	// UpToDate is the cursor up to which it has counted, empty before the first entry; Uncounted the number of
	// entries that the log has after it. Counting reports whether it is counting.
	UpToDate  client.Cursor
	Uncounted uint64
	Counting  bool
}

// Status returns the state of the inventory. It does not wait until the inventory has counted the log.
// Errors: ErrAccessDenied, ErrUnreachable.
func (i Inventory) Status(ctx context.Context) (s Status, err error) {
	if s.Version, err = property[string](ctx, i, "Version"); err != nil {
		return s, err
	}
	if s.Counting, err = property[bool](ctx, i, "Counting"); err != nil {
		return s, err
	}
	if s.UpToDate, err = i.Cursor(ctx); err != nil {
		return s, err
	}
	end, err := i.newest(ctx)
	if err != nil {
		return s, err
	}
	countedStore, counted := parts(s.UpToDate)
	store, newest := parts(end)
	if countedStore != store {
		counted = 0
	}
	s.Uncounted = newest - min(counted, newest)
	return s, nil
}

// Wait waits until the inventory has counted all entries that the log has at the time of the call. It
// returns false if the inventory stops counting, for example because the broker does not answer, and if it makes
// no progress for as long as Patient allows. step, unless it is nil, is called every few seconds with the
// sequence numbers of the last counted entry and of the newest one. Errors: ErrAccessDenied, ErrUnreachable.
func (i Inventory) Wait(ctx context.Context, step func(counted, newest uint64)) (complete bool, err error) {
	end, err := i.newest(ctx)
	if err != nil {
		return false, err
	}
	store, newest := parts(end)
	if newest == 0 {
		return true, nil // the log is empty
	}
	var last client.Cursor
	moved := time.Now()
	for {
		// Each call makes the inventory count first, for a few seconds at most.
		if _, _, err := i.Rows(ctx, Filter{Values: map[string][]string{"operation": {"none"}}}, "", 1); err != nil {
			return false, err
		}
		counting, err := property[bool](ctx, i, "Counting")
		if err != nil {
			return false, err
		}
		at, err := i.Cursor(ctx)
		if err != nil {
			return false, err
		}
		countedStore, counted := parts(at)
		if countedStore == store && counted >= newest {
			return true, nil
		}
		if !counting {
			return false, nil
		}
		if step != nil {
			step(counted, newest)
		}
		if at != last {
			last, moved = at, time.Now()
			continue
		}
		if i.patience > 0 && time.Since(moved) > i.patience {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(waitPause):
		}
	}
}

// waitPause is the time between two calls while the inventory counts, but answers at once.
const waitPause = 100 * time.Millisecond

// parts returns the log of a cursor, and its sequence number, 0 if it has none.
func parts(c client.Cursor) (store string, sequence uint64) {
	store, digits, _ := strings.Cut(string(c), "-")
	sequence, err := strconv.ParseUint(digits, 16, 64)
	if err != nil {
		return store, 0
	}
	return store, sequence
}

// Observed returns the uses of a period. It supports the options of a bill of materials. Errors:
// ErrLimitExceeded, ErrStoreCorrupt, ErrAccessDenied, ErrUnreachable.
func (i Inventory) Observed(ctx context.Context, options ExportOptions) (*Observed, error) {
	document, err := i.Export(ctx, "observed-json", options)
	if err != nil {
		return nil, err
	}
	ctx, cancel := i.timed(ctx)
	defer cancel()
	defer document.Close()
	stop := context.AfterFunc(ctx, func() { document.Close() })
	defer stop()
	limited := &io.LimitedReader{R: document, N: maxDocument}
	o, err := observed.Read(limited)
	switch {
	case err == nil:
		return o, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.N == 0:
		err = fmt.Errorf("a document of more than %d MiB", maxDocument>>20)
	}
	return nil, fmt.Errorf("%w: %w", client.ErrProtocol, err)
}

// maxDocument bounds the document of Observed in bytes. Documents of the service are less than half as large.
const maxDocument = 64 << 20

// ExportOptions are options of Export.
type ExportOptions struct {
	// Since and Until are the period; zero times do not bound it.
	Since, Until time.Time
	// Executables and Units select programs and units; none: all.
	Executables, Units []string
	// Profiles are the profiles whose rules apply in a report, none: ietf and nist. Anonymous makes a report
	// that may be shared: without programs, with times to the hour. Other documents support neither.
	Profiles  []string
	Anonymous bool
}

// encode returns the options in their form on the bus.
func (o *ExportOptions) encode() map[string]dbus.Variant {
	m := periodOptions(o.Since, o.Until)
	for key, values := range map[string][]string{"executable": o.Executables, "unit": o.Units, "profiles": o.Profiles} {
		if len(values) > 0 {
			m[key] = dbus.MakeVariant(values)
		}
	}
	if o.Anonymous {
		m["anonymous"] = dbus.MakeVariant(true)
	}
	return m
}

// Export returns a document about the observations: a bill of materials ("cbom-1.6", "cbom-1.7"), a report
// ("report-html", "report-json", "report-csv", "report-junit"). It must be read within a minute, and
// closed. Errors: ErrInvalidArgument for an unknown format, ErrLimitExceeded, ErrStoreCorrupt,
// ErrAccessDenied, ErrUnreachable.
func (i Inventory) Export(ctx context.Context, format string, options ExportOptions) (io.ReadCloser, error) {
	body, err := i.body(ctx, Name+".Export", []any{format, options.encode()})
	if err != nil {
		return nil, fmt.Errorf("cannot export the inventory: %w", err)
	}
	// A number that is not a descriptor of the message may be one of this process.
	if len(body) != 1 {
		return nil, fmt.Errorf("%w: Export returned %d values", client.ErrProtocol, len(body))
	}
	fd, ok := body[0].(dbus.UnixFD)
	if !ok {
		return nil, fmt.Errorf("%w: Export returned a value of type %s", client.ErrProtocol, dbus.SignatureOf(body[0]))
	}
	// Close must be able to end a blocked Read.
	if err := syscall.SetNonblock(int(fd), true); err != nil {
		_ = syscall.Close(int(fd))
		return nil, fmt.Errorf("%w: Export returned a bad descriptor: %w", client.ErrProtocol, err)
	}
	return os.NewFile(uintptr(fd), "document"), nil
}

// Policies returns the names of the crypto policies of the machine, for CheckPolicy. Errors:
// ErrAccessDenied, ErrUnreachable.
func (i Inventory) Policies(ctx context.Context) (names []string, err error) {
	if err := i.call(ctx, Name+".ListPolicies", nil, &names); err != nil {
		return nil, fmt.Errorf("cannot list policies: %w", err)
	}
	return names, nil
}

// CheckPolicy reports which of the operations of a period a policy of the machine, such as "FUTURE" or
// "DEFAULT:NO-PQ", would not have allowed, with the members of the JSON document of crauctl policy check.
// Integers are int64, other numbers float64. Errors: ErrNoSuchPolicy, ErrStoreCorrupt, ErrAccessDenied,
// ErrUnreachable.
func (i Inventory) CheckPolicy(ctx context.Context, policy string, since, until time.Time) (map[string]any, error) {
	return i.document(ctx, "CheckPolicy", policy, periodOptions(since, until))
}

// Report reports on a period, with the members of the JSON document of crauctl report. Integers are
// int64, other numbers float64. Errors: ErrInvalidArgument for an unknown profile, ErrLimitExceeded,
// ErrStoreCorrupt, ErrAccessDenied, ErrUnreachable.
func (i Inventory) Report(ctx context.Context, options ExportOptions) (map[string]any, error) {
	return i.document(ctx, "Report", options.encode())
}

// document calls a method of the inventory that returns a document.
func (i Inventory) document(ctx context.Context, method string, arguments ...any) (map[string]any, error) {
	var m map[string]dbus.Variant
	if err := i.call(ctx, Name+"."+method, arguments, &m); err != nil {
		return nil, fmt.Errorf("cannot ask the inventory: %w", err)
	}
	return documentFrom(m), nil
}

// documentFrom removes the variants of a document.
func documentFrom(m map[string]dbus.Variant) map[string]any {
	plain := make(map[string]any, len(m))
	for key, v := range m {
		plain[key] = valueFrom(v)
	}
	return plain
}

func valueFrom(v dbus.Variant) any {
	switch value := v.Value().(type) {
	case map[string]dbus.Variant:
		return documentFrom(value)
	case []dbus.Variant:
		list := make([]any, len(value))
		for i := range value {
			list[i] = valueFrom(value[i])
		}
		return list
	default:
		return value
	}
}

// as stores a value if it has the type of to.
func as[T any](value any, to *T) bool {
	v, ok := value.(T)
	if ok {
		*to = v
	}
	return ok
}
