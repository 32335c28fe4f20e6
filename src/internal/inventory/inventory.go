// SPDX-License-Identifier: Apache-2.0

// Package inventory counts the cryptography that programs use: it reads the log, counts its operations,
// and stores the counts, so that they outlast the log. Each entry is counted exactly once, even if the
// process is killed at any time.
package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/inventory/counting"
	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/database"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/status"
)

// Config configures an Inventory. Directory and Registry are required.
type Config struct {
	// Directory is the existing directory of the database.
	Directory string
	Registry  *schema.Registry
	// Retention is how long rows are kept; 0 means forever.
	Retention time.Duration
	// Status returns the status of broker, agent and log for the coverage; nil if there is none.
	Status func(context.Context) (*status.Broker, error)
	// Kernel returns the uses of the kernel of this machine for the coverage; nil if they are unknown.
	Kernel func() []string
	// Now returns the time; nil means time.Now.
	Now func() time.Time
	// Damaged is called with the error and the new path of a damaged database that was set aside;
	// nil: it is not reported.
	Damaged func(err error, path string)
	// CommitEvery is the number of events after which CatchUp stores what it has counted; 0 means
	// the default.
	CommitEvery int
}

// DefaultRetention is the retention of the service.
const DefaultRetention = 5 * 365 * 24 * time.Hour

// commitEvery is the default of Config.CommitEvery. A commit writes the incomplete operations, at
// most some 70,000 entries.
const commitEvery = 4 << 20

// commitRows is the number of rows at which CatchUp stores what it has counted.
const commitRows = 20_000

// Filter selects rows.
type Filter = database.Filter

// FilterError reports a filter, a list of fields or a position that is not valid.
type FilterError = database.FilterError

// ErrForeignCursor is the error of Source.Open for a cursor of another log.
var ErrForeignCursor = errors.New("cursor of another log")

// Source is a log that can be read from a cursor on.
type Source interface {
	// Open returns the entries after a cursor, empty for the beginning of the log, up to the
	// newest one. An error for a cursor of another log matches ErrForeignCursor.
	Open(ctx context.Context, after string) (Entries, error)
}

// Entries are the entries of a log in order.
type Entries interface {
	// Next decodes the next entry into g, which is valid until the next call. boot is the boot
	// time to which its times are relative, in nanoseconds since the Unix epoch. The error is
	// io.EOF at the end; a *counting.MissingError where entries are missing, after which the next
	// call continues; another error if nothing more can be read.
	Next(g *event.Group) (sequence uint64, boot int64, err error)
	// Cursor returns the position after the last entry that was returned, empty if the log has
	// been empty.
	Cursor() string
	// Close may be called more than once, and while Next runs, which it ends.
	Close() error
}

// Inventory is an open inventory. Its methods may be called concurrently.
type Inventory struct {
	config Config

	// updating serialises catching up and maintenance. It is taken before mu.
	updating sync.Mutex
	counter  *counting.Counter // nil: to be restored from the database

	// whole is set if the rows of incomplete operations match state.
	whole bool

	mu    sync.RWMutex // of the following
	db    *database.Database
	state database.State
	// damage is an error of reading that shows damage of the database.
	damage error
}

// Open opens the inventory in a directory, and creates it if it is missing. A damaged database is set
// aside and replaced by a new one. Errors: a *database.NewerError.
func Open(ctx context.Context, c Config) (*Inventory, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Kernel == nil {
		c.Kernel = func() []string { return nil }
	}
	if c.Damaged == nil {
		c.Damaged = func(error, string) {}
	}
	c.CommitEvery = cmp.Or(c.CommitEvery, commitEvery)
	i := &Inventory{config: c}
	err := i.open(ctx)
	if database.IsDamage(err) {
		err = i.begin(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	return i, nil
}

// open opens the database and reads its state.
func (i *Inventory) open(ctx context.Context) error {
	db, err := database.Open(ctx, i.config.Directory)
	if err != nil {
		return err
	}
	s, err := db.State(ctx)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.db, i.state, i.counter, i.whole, i.damage = db, s, nil, false, nil
	return nil
}

// begin begins a new database instead of a damaged one.
func (i *Inventory) begin(ctx context.Context, damage error) error {
	i.mu.Lock()
	if i.db != nil {
		_ = i.db.Close() // it is damaged
		i.db = nil
	}
	i.mu.Unlock()
	path, err := database.SetAside(i.config.Directory, i.config.Now())
	if err != nil {
		return err
	}
	i.config.Damaged(damage, path)
	return i.open(ctx)
}

// Close closes the inventory.
func (i *Inventory) Close() error {
	i.updating.Lock()
	defer i.updating.Unlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.db == nil {
		return nil
	}
	err := i.db.Close()
	i.db = nil
	return err
}

// UpToDate returns the cursor up to which the log was counted, empty at first.
func (i *Inventory) UpToDate() string {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.state.Cursor
}

// CatchUp counts the entries of the log after the last counted one. If it is interrupted, it stores the
// counts so far. It also compacts and deletes old rows, at most once a day.
func (i *Inventory) CatchUp(ctx context.Context, source Source) error {
	i.updating.Lock()
	defer i.updating.Unlock()
	err := i.damaged()
	if err == nil {
		err = i.catchUp(ctx, source)
	}
	if database.IsDamage(err) {
		if err = i.begin(ctx, err); err == nil {
			err = i.catchUp(ctx, source)
		}
	}
	return err
}

func (i *Inventory) catchUp(ctx context.Context, source Source) error {
	if i.database() == nil {
		return errClosed
	}
	if err := i.db.Maintain(ctx, i.config.Now(), i.config.Retention); err != nil {
		return err
	}
	if err := i.restore(ctx); err != nil {
		return err
	}
	first := i.state.First
	entries, err := source.Open(ctx, i.state.Cursor)
	if errors.Is(err, ErrForeignCursor) {
		// The log was replaced: incomplete operations of the old one have ended.
		i.counter.Close()
		first = 0
		entries, err = source.Open(ctx, "")
	}
	if err != nil {
		return fmt.Errorf("cannot read the log for the inventory: %w", err)
	}
	defer entries.Close()
	stop := context.AfterFunc(ctx, func() { _ = entries.Close() })
	defer stop()
	err = i.count(ctx, entries, first)
	if err != nil {
		i.counter = nil // some of its counts may not be stored
	}
	return err
}

var errClosed = errors.New("the inventory is closed")

func (i *Inventory) database() *database.Database {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.db
}

// damaged returns the damage that reading has shown.
func (i *Inventory) damaged() error {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.damage
}

// read returns an error of reading. If it shows damage, the next CatchUp sets the database aside.
func (i *Inventory) read(err error) error {
	if database.IsDamage(err) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.damage = err
	}
	return err
}

// restore makes the counter continue where it was stored.
func (i *Inventory) restore(ctx context.Context) error {
	if i.counter != nil {
		return nil
	}
	units, err := i.db.Units(ctx)
	if err != nil {
		return err
	}
	options := counting.Options{Registry: i.config.Registry, Units: units}
	counter, err := counting.New(options)
	if err != nil {
		return err
	}
	if i.state.Counter != nil {
		if err := counter.Load(i.state.Counter); err != nil {
			// Another version of the program has saved it.
			if err := i.db.Abandon(ctx); err != nil {
				return err
			}
			if counter, err = counting.New(options); err != nil {
				return err
			}
		}
	}
	i.counter = counter
	return nil
}

// count counts entries to their end. first is the number of the first counted entry of the log, 0 if
// there is none.
func (i *Inventory) count(ctx context.Context, entries Entries, first uint64) error {
	var g event.Group
	store := func(ctx context.Context, last uint64, end bool) error {
		return i.store(ctx, database.State{Cursor: entries.Cursor(), First: first, Entry: last}, end)
	}
	last := i.state.Entry
	events, n := 0, 0
	for {
		sequence, boot, err := entries.Next(&g)
		var missing *counting.MissingError
		switch {
		case err == nil:
			i.counter.Add(&g, boot)
			last, first = sequence, cmp.Or(first, sequence)
			events += len(g.Events)
			n++
		case errors.As(err, &missing):
			i.counter.Missing(missing.Entries)
			continue
		case err == io.EOF:
			return store(ctx, last, true)
		case ctx.Err() != nil:
			return errors.Join(ctx.Err(), store(context.WithoutCancel(ctx), last, false))
		default:
			return errors.Join(fmt.Errorf("cannot read the log for the inventory: %w", err), store(ctx, last, false))
		}
		if events >= i.config.CommitEvery || n%1024 == 0 && i.counter.Size() >= commitRows {
			events = 0
			if err := store(ctx, last, false); err != nil {
				return err
			}
		}
	}
}

// store stores the counts, and at the end of the log also the incomplete operations as rows.
func (i *Inventory) store(ctx context.Context, s database.State, end bool) error {
	s.Cursor = cmp.Or(s.Cursor, i.state.Cursor)
	if end && i.whole && s.Cursor == i.state.Cursor {
		return nil // nothing has happened
	}
	i.whole = false
	var err error
	if s.Counter, err = i.counter.Save(); err != nil {
		return err
	}
	var incomplete []row.Row
	if end {
		incomplete = i.counter.Incomplete()
	}
	if err := i.db.Store(ctx, i.counter.Take(), incomplete, s); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.state, i.whole = s, end
	return nil
}

// Observed returns the sums of the rows that match a filter, with the coverage of its period. The database
// has rows of hours, and after 35 days rows of days: all operations of a row count if one of them is
// in the period. Errors: a *FilterError.
func (i *Inventory) Observed(ctx context.Context, f Filter) (*observed.Observed, error) {
	db := i.database()
	if db == nil {
		return nil, errClosed
	}
	o, err := db.Observed(ctx, f)
	if err != nil {
		return nil, i.read(err)
	}
	var s *status.Broker
	if i.config.Status != nil {
		if s, err = i.config.Status(ctx); err != nil {
			return nil, fmt.Errorf("cannot determine the coverage of the inventory: %w", err)
		}
	}
	Cover(&o.Coverage, s, i.config.Kernel(), i.config.Now())
	if !f.Until.IsZero() {
		o.Coverage.Down = slices.DeleteFunc(o.Coverage.Down, func(d coverage.Span) bool { return !d.From.Before(f.Until) })
	}
	return o, nil
}

// List returns up to limit rows that match a filter after a position, in the order of their periods,
// and the position after them; it is empty at the end. The position before all rows is empty. Errors:
// a *FilterError.
func (i *Inventory) List(ctx context.Context, f Filter, after string, limit int) ([]row.Row, string, error) {
	db := i.database()
	if db == nil {
		return nil, "", errClosed
	}
	list, next, err := db.List(ctx, f, after, limit)
	return list, next, i.read(err)
}

// Summarize returns the sums of the rows that match a filter, one for each combination of fields of
// row.Fields, in their order; other fields are empty. It also sums by "day" and "week", in which case
// Start and Length are of the day or week. Errors: a *FilterError.
func (i *Inventory) Summarize(ctx context.Context, by []string, f Filter) ([]row.Row, error) {
	db := i.database()
	if db == nil {
		return nil, errClosed
	}
	list, err := db.Summarize(ctx, by, f)
	return list, i.read(err)
}
