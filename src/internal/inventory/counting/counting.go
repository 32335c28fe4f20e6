// SPDX-License-Identifier: Apache-2.0

// Package counting makes rows of the inventory from the entries of a log: it builds the trees of
// operations, decides which of them are complete by the rule of crauctl query, and counts their
// parameters under normal names.
//
// A handshake counts once, with its parameters. An operation with a key also counts once, even as a
// part of a handshake, except the parts of a key exchange, which the group of the handshake
// represents. A handshake with only a role does not count: libraries are entered again for messages
// after a handshake.
package counting

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/zstd"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/settle"
)

// Options configure a Counter.
type Options struct {
	Registry *schema.Registry
	// Units are the units of rows that were counted earlier.
	Units []string
	// MaxUnits is the number of distinct units; the default is 1,000. Operations of further units
	// count for the unit OtherUnits.
	MaxUnits int
}

// OtherUnits is the unit of operations of units beyond the limit.
const OtherUnits = "*"

// Counts are the counts of a Counter since the last call of Take.
type Counts struct {
	// Rows are rows of hours, unordered.
	Rows []row.Row
	// Lost counts lost events by hour and reason, Missing the entries that were removed or
	// damaged before they were counted, by hour.
	Lost    []Lost
	Missing []Lost
	// Down are the times without recording that the log reports.
	Down []coverage.Span
	// Begin and End are the times of the earliest and the latest entry, zero if there was none.
	Begin, End time.Time
}

// Lost is a number of events or entries that were lost in an hour. Reason is empty for entries.
type Lost struct {
	Hour   time.Time
	Reason string
	Number uint64
}

// Counter counts the operations of a log. Add the entries in the order of the log. It is for use by
// one goroutine.
type Counter struct {
	options Options
	reader  *reader
	builder *schema.Builder
	settler settle.Settler
	units   map[string]bool

	uses    map[row.Use]int
	byUse   []row.Use
	rows    map[hourly]*tally
	spare   []*tally
	lost    map[Lost]uint64 // Number is 0
	missing map[int64]uint64
	down    []coverage.Span
	begin   int64 // in nanoseconds since the Unix epoch; 0 without entries
	end     int64
	count   func(*schema.Span)

	// encoder and saved are the memory of Save.
	encoder *zstd.Encoder
	saved   bytes.Buffer
}

// hourly is a use, as an index of byUse, in an hour, in seconds since the Unix epoch.
type hourly struct {
	hour int64
	use  int
}

// tally are the counts of a row; first and last are in nanoseconds since the Unix epoch.
type tally struct {
	count, failures, relays uint64
	first, last             int64
}

const hour = int64(time.Hour)

// New returns a Counter.
func New(o Options) (*Counter, error) {
	if o.MaxUnits <= 0 {
		o.MaxUnits = 1000
	}
	r, err := newReader(o.Registry)
	if err != nil {
		return nil, err
	}
	c := &Counter{
		options: o, reader: r, units: make(map[string]bool),
		uses: make(map[row.Use]int), rows: make(map[hourly]*tally), lost: make(map[Lost]uint64), missing: make(map[int64]uint64),
	}
	for _, unit := range o.Units {
		c.units[unit] = true
	}
	c.count = c.add
	c.builder = schema.NewBuilder(o.Registry, schema.Options{MaxBytes: maxPending}, c.root)
	return c, nil
}

// maxPending limits the memory of incomplete operations, in bytes.
const maxPending = 48 << 20

// Add counts an entry. boot is the boot time to which its times are relative, in nanoseconds since the
// Unix epoch. g is not retained.
func (c *Counter) Add(g *event.Group, boot int64) {
	at := event.WallTime(boot, g.End)
	if at > 0 && g.End > 0 { // a group that describes the log has no time
		if c.begin == 0 || at < c.begin {
			c.begin = at
		}
		c.end = max(c.end, at)
	}
	c.builder.Add(g, boot)
	if g.IsMetadata() {
		c.notice(g, boot)
		return
	}
	c.settler.Observe(at, c.builder)
}

// notice counts the losses and the times without recording that a metadata group reports.
func (c *Counter) notice(g *event.Group, boot int64) {
	if l, ok := g.Loss(); ok {
		c.lost[Lost{Hour: hourOf(event.WallTime(boot, l.Start)), Reason: text(l.Reason)}] += l.Events
		return
	}
	if u, ok := g.Unrecorded(boot); ok && u.To > u.From {
		c.down = append(c.down, coverage.Span{
			From: time.Unix(0, u.From).UTC(), To: time.Unix(0, u.To).UTC(), Reason: text(string(u.Reason)), Library: text(u.Library),
		})
	}
}

// Missing counts entries, after the last added one, that cannot be counted because they were removed
// or are damaged.
func (c *Counter) Missing(entries uint64) {
	if entries > 0 {
		c.missing[c.end-c.end%hour] += entries
	}
}

func hourOf(at int64) time.Time { return time.Unix(0, at-at%hour).UTC() }

// root counts a complete tree.
func (c *Counter) root(root *schema.Span) {
	c.reader.read(root, c.count)
	c.builder.Release(root)
}

// add counts the use that the reader has read from a span.
func (c *Counter) add(s *schema.Span) {
	u := &c.reader.use
	if u.Unit != "" && !c.units[u.Unit] {
		if len(c.units) < c.options.MaxUnits {
			c.units[u.Unit] = true
		} else {
			u.Unit = OtherUnits
		}
	}
	use, ok := c.uses[*u]
	if !ok {
		use = len(c.byUse)
		c.byUse = append(c.byUse, *u)
		c.uses[*u] = use
	}
	key := hourly{hour: (s.Start - s.Start%hour) / int64(time.Second), use: use}
	t := c.rows[key]
	if t == nil {
		t = c.tally()
		*t = tally{first: s.Start, last: s.Start}
		c.rows[key] = t
	}
	t.count++
	if c.reader.failed {
		t.failures++
	}
	if c.reader.relay {
		t.relays++
	}
	t.first, t.last = min(t.first, s.Start), max(t.last, s.Start)
}

func (c *Counter) tally() *tally {
	if last := len(c.spare) - 1; last >= 0 {
		t := c.spare[last]
		c.spare = c.spare[:last]
		return t
	}
	return new(tally)
}

// Size returns the number of rows that Take would return.
func (c *Counter) Size() int { return len(c.rows) }

// takeRows returns the rows, and forgets them.
func (c *Counter) takeRows() (rows []row.Row) {
	for key, t := range c.rows {
		rows = append(rows, row.Row{
			Start: time.Unix(key.hour, 0).UTC(), Length: time.Hour, Use: c.byUse[key.use],
			Count: t.count, Failures: t.failures, Relays: t.relays, First: microseconds(t.first), Last: microseconds(t.last),
		})
		if len(c.spare) < maxCached {
			c.spare = append(c.spare, t)
		}
	}
	clear(c.rows)
	return rows
}

// Take returns the counts since the last call, and forgets them.
func (c *Counter) Take() *Counts {
	counts := &Counts{Rows: c.takeRows(), Down: c.down}
	for l, n := range c.lost {
		l.Number = n
		counts.Lost = append(counts.Lost, l)
	}
	for at, n := range c.missing {
		counts.Missing = append(counts.Missing, Lost{Hour: hourOf(at), Number: n})
	}
	if c.begin != 0 {
		counts.Begin, counts.End = microseconds(c.begin), microseconds(c.end)
	}
	clear(c.lost)
	clear(c.missing)
	c.down, c.begin = nil, 0
	if len(c.byUse) > maxCached {
		clear(c.uses)
		c.byUse = c.byUse[:0]
	}
	return counts
}

// microseconds returns a time in nanoseconds since the Unix epoch, rounded down to microseconds.
func microseconds(ns int64) time.Time { return time.UnixMicro(ns / int64(time.Microsecond)).UTC() }

// Close completes all operations and counts them.
func (c *Counter) Close() { c.builder.Close() }

// state is the saved form of a Counter. The saved builder follows.
type state struct {
	_       struct{} `cbor:",toarray"`
	Version int
	End     int64
	Settler settle.Settler
}

const stateVersion = 1

// Save returns the state of the counter with the incomplete operations, but without the counts that
// Take returns.
func (c *Counter) Save() ([]byte, error) {
	if err := c.save(); err != nil {
		return nil, fmt.Errorf("cannot save the state of counting: %w", err)
	}
	return bytes.Clone(c.saved.Bytes()), nil
}

func (c *Counter) save() error {
	if c.encoder == nil {
		var err error
		// The window is large enough for data that repeat from operation to operation.
		c.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<17))
		if err != nil {
			return err
		}
	}
	c.saved.Reset()
	c.encoder.Reset(&c.saved)
	buffered := bufio.NewWriterSize(c.encoder, 1<<16)
	if err := cbor.NewEncoder(buffered).Encode(&state{Version: stateVersion, End: c.end, Settler: c.settler}); err != nil {
		return err
	}
	if err := c.builder.Save(buffered); err != nil {
		return err
	}
	return errors.Join(buffered.Flush(), c.encoder.Close())
}

// Load makes a new counter continue from a saved state.
func (c *Counter) Load(data []byte) error {
	if err := c.load(data); err != nil {
		return fmt.Errorf("cannot load the state of counting: %w", err)
	}
	return nil
}

func (c *Counter) load(data []byte) error {
	decompressed, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<20))
	if err != nil {
		return err
	}
	defer decompressed.Close()
	var s state
	decoder := cbor.NewDecoder(decompressed)
	if err := decoder.Decode(&s); err != nil {
		return err
	}
	if s.Version != stateVersion {
		return fmt.Errorf("its form has version %d instead of %d", s.Version, stateVersion)
	}
	if err := c.builder.Load(io.MultiReader(decoder.Buffered(), decompressed)); err != nil {
		return err
	}
	if s.Settler.Entries < 0 || s.Settler.Entries > 0 && len(s.Settler.Earliest) == 0 {
		return errors.New("its entries have no times")
	}
	c.end, c.settler = s.End, s.Settler
	return nil
}

// Incomplete returns the rows of the incomplete operations, as if they were complete.
func (c *Counter) Incomplete() []row.Row {
	rows := c.rows
	c.rows = make(map[hourly]*tally)
	c.builder.Incomplete(func(root *schema.Span) { c.reader.read(root, c.count) })
	incomplete := c.takeRows()
	c.rows = rows
	return incomplete
}

// Observed returns the observations of a period, which ends before until. Zero times mean no bound.
func (c *Counts) Observed(since, until time.Time) *observed.Observed {
	sum := observed.NewSum()
	for i := range c.Rows {
		sum.Add(&c.Rows[i])
	}
	from, to := c.Begin, c.End
	if !since.IsZero() && from.Before(since) && !from.IsZero() {
		from = since
	}
	if !until.IsZero() && to.After(until) {
		to = until
	}
	if to.Before(from) {
		from, to = time.Time{}, time.Time{}
	}
	o := sum.Observed(from, to)
	cover := &o.Coverage
	overlaps := func(a, b time.Time) bool {
		return (since.IsZero() || !b.Before(since)) && (until.IsZero() || a.Before(until))
	}
	for _, d := range c.Down {
		if overlaps(d.From, d.To) {
			cover.Down = append(cover.Down, d)
		}
	}
	slices.SortFunc(cover.Down, func(x, y coverage.Span) int { return x.From.Compare(y.From) })
	for _, l := range c.Lost {
		if overlaps(l.Hour, l.Hour.Add(time.Hour-1)) {
			if cover.Lost == nil {
				cover.Lost = make(map[string]uint64)
			}
			cover.Lost[l.Reason] += l.Number
		}
	}
	for _, l := range c.Missing {
		if overlaps(l.Hour, l.Hour.Add(time.Hour-1)) {
			cover.Missing += l.Number
		}
	}
	return o
}
