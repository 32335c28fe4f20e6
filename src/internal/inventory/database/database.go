// SPDX-License-Identifier: Apache-2.0

// Package database keeps the rows of the inventory in an SQLite file.
//
// The file has a rollback journal, so that root can read it with sqlite3 at any time, by the view
// inventory for example. Rows, the position in the log up to which they were counted, and the
// operations that are incomplete at that position are written in one transaction, so that each entry
// is counted exactly once. docs/inventory.md describes the tables.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"

	"crypto-auditing/src/internal/inventory/counting"
	"crypto-auditing/src/internal/inventory/row"
)

// FileName is the name of the file in the directory of the inventory.
const FileName = "inventory.sqlite"

// Database is an open file. Its methods may be called concurrently.
type Database struct {
	db   *sql.DB
	path string
	// ids are the rows of the table uses. Only Store and Maintain, which must not be called
	// concurrently, use it; nil: to be read.
	ids map[row.Use]int64
	// maxUses limits ids.
	maxUses int
}

// NewerError reports a file with a schema of a newer version.
type NewerError struct{ Version, Known int }

func (e *NewerError) Error() string {
	return fmt.Sprintf("a newer version of the program has written it: its schema has version %d, and %d is known", e.Version, e.Known)
}

// errForeign reports a file of another program.
var errForeign = errors.New("it is the database of another program")

// IsDamage reports whether an error of a method indicates that the file is damaged.
func IsDamage(err error) bool {
	if errors.As(err, new(*damageError)) {
		return true
	}
	var sqliteErr *sqlite.Error
	if !errors.As(err, &sqliteErr) {
		return false
	}
	// Extended codes have the code in their lower byte (https://sqlite.org/rescode.html).
	const corrupt, notADatabase = 11, 26
	code := sqliteErr.Code() & 0xff
	return code == corrupt || code == notADatabase
}

// Open opens the file in a directory, which must exist, and creates it if it is missing. A file with
// an older schema is upgraded. Errors: a *NewerError; an error for which IsDamage is true.
func Open(ctx context.Context, directory string) (*Database, error) {
	path := filepath.Join(directory, FileName)
	d, err := open(ctx, path, steps())
	if err != nil {
		return nil, fmt.Errorf("cannot open inventory %s: %w", path, err)
	}
	return d, nil
}

func open(ctx context.Context, path string, steps []string) (*Database, error) {
	// SQLite gives its journal the mode of the file.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	options := strings.Join([]string{
		"_pragma=busy_timeout(10000)", // root may be reading
		"_pragma=journal_mode(DELETE)",
		"_pragma=synchronous(FULL)",
		"_pragma=foreign_keys(1)",
		"_pragma=temp_store(MEMORY)", // the service may write to one directory only
		"_pragma=cache_size(-8192)",  // KiB
		"_txlock=immediate",
	}, "&")
	db, err := sql.Open("sqlite", "file:"+escaped(path)+"?"+options)
	if err != nil {
		return nil, err
	}
	// A second connection would wait for the first one.
	db.SetMaxOpenConns(1)
	d := &Database{db: db, path: path, maxUses: maxUses}
	if err := upgrade(ctx, db, steps); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return d, nil
}

// escaped returns a path for a URI.
func escaped(path string) string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

// Close closes the file.
func (d *Database) Close() error {
	if err := d.db.Close(); err != nil {
		return fmt.Errorf("cannot close inventory %s: %w", d.path, err)
	}
	return nil
}

// Path returns the path of the file.
func (d *Database) Path() string { return d.path }

// SetAside renames the damaged file of a directory, with its journal, and returns its new path. The
// next Open creates a new file.
func SetAside(directory string, now time.Time) (string, error) {
	path := filepath.Join(directory, FileName)
	base := strings.TrimSuffix(path, filepath.Ext(path)) + now.UTC().Format("-damaged-20060102T150405")
	to := base + filepath.Ext(path)
	for n := 2; ; n++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
		to = fmt.Sprintf("%s-%d%s", base, n, filepath.Ext(path))
	}
	// The journal first: without its file it is not used, but it must not remain for a new file.
	if err := os.Rename(path+"-journal", to+"-journal"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("cannot set aside the damaged inventory: %w", err)
	}
	if err := os.Rename(path, to); err != nil {
		return "", fmt.Errorf("cannot set aside the damaged inventory: %w", err)
	}
	return to, nil
}

// State is the position up to which the log was counted.
type State struct {
	// Cursor is a cursor of the log, empty for its beginning; First and Entry are the numbers of the
	// first and the last counted entry, 0 if there is none.
	Cursor       string
	First, Entry uint64
	// Counter is the saved counter, nil if it was not saved.
	Counter []byte
}

// State returns the state that Store wrote last.
func (d *Database) State(ctx context.Context) (State, error) {
	var s State
	err := d.db.QueryRowContext(ctx, "SELECT cursor, first, entry, counter FROM state").Scan(&s.Cursor, &s.First, &s.Entry, &s.Counter)
	if err != nil {
		return State{}, fmt.Errorf("cannot read the state of inventory %s: %w", d.path, err)
	}
	return s, nil
}

// Units returns the units of all rows.
func (d *Database) Units(ctx context.Context) ([]string, error) {
	rows, err := d.db.QueryContext(ctx, "SELECT DISTINCT unit FROM uses WHERE unit <> '' ORDER BY unit")
	var units []string
	for err == nil && rows.Next() {
		var unit string
		if err = rows.Scan(&unit); err == nil {
			units = append(units, unit)
		}
	}
	if err == nil {
		err = errors.Join(rows.Err(), rows.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the units of inventory %s: %w", d.path, err)
	}
	return units, nil
}

// Store adds the counts since the last call, and replaces the state and the rows of incomplete
// operations, in one transaction.
func (d *Database) Store(ctx context.Context, counts *counting.Counts, incomplete []row.Row, s State) error {
	err := transact(ctx, d.db, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx, ids: d.ids, maxUses: d.maxUses}
		if err := w.load(); err != nil {
			return err
		}
		d.ids = w.ids
		return errors.Join(w.rows("counts", counts.Rows), w.exec("DELETE FROM incomplete"), w.rows("incomplete", incomplete),
			w.coverage(counts), w.state(counts, &s))
	})
	if err != nil {
		d.ids = nil // some of the rows may have been rolled back
		return fmt.Errorf("cannot write inventory %s: %w", d.path, err)
	}
	return nil
}

// Abandon counts the incomplete operations that Store wrote as complete: the state of their counter
// cannot be used.
func (d *Database) Abandon(ctx context.Context) error {
	err := transact(ctx, d.db, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		return errors.Join(w.exec("INSERT INTO counts SELECT * FROM incomplete WHERE true"+addUp),
			w.exec("DELETE FROM incomplete"), w.exec("UPDATE state SET counter = NULL"))
	})
	if err != nil {
		return fmt.Errorf("cannot write inventory %s: %w", d.path, err)
	}
	return nil
}

// addUp adds the counts of an inserted row to an existing row.
const addUp = ` ON CONFLICT (start, length, use) DO UPDATE SET count = count + excluded.count,
	failures = failures + excluded.failures, relays = relays + excluded.relays,
	first = min(first, excluded.first), last = max(last, excluded.last)`

// writer writes in a transaction.
type writer struct {
	ctx context.Context
	tx  *sql.Tx
	ids map[row.Use]int64
	// maxUses limits ids.
	maxUses int
}

func (w *writer) exec(statement string, arguments ...any) error {
	_, err := w.tx.ExecContext(w.ctx, statement, arguments...)
	return err
}

// load reads the ids of the uses, unless they are known.
func (w *writer) load() error {
	if w.ids != nil {
		return nil
	}
	uses, err := readUses(w.ctx, w.tx)
	if err != nil {
		return err
	}
	w.ids = make(map[row.Use]int64, len(uses))
	for id, u := range uses {
		w.ids[*u] = id
	}
	return nil
}

// rows adds rows to a table.
func (w *writer) rows(table string, rows []row.Row) error {
	if len(rows) == 0 {
		return nil
	}
	insert, err := w.tx.PrepareContext(w.ctx, "INSERT INTO "+table+" VALUES (?, ?, ?, ?, ?, ?, ?, ?)"+addUp) //nolint:gosec // table is a constant
	if err != nil {
		return err
	}
	defer insert.Close()
	for i := range rows {
		r := &rows[i]
		id, err := w.id(&r.Use)
		if err != nil {
			return err
		}
		if _, err := insert.ExecContext(w.ctx, r.Start.Unix(), int64(r.Length/time.Second), id, int64(r.Count), int64(r.Failures), int64(r.Relays),
			r.First.UnixMicro(), r.Last.UnixMicro()); err != nil {
			return err
		}
	}
	return nil
}

// Other replaces programs, units and operations beyond the limit of uses.
const Other = counting.OtherUnits

// maxUses is the limit of uses in the file, because any program can cause any number of them. Uses
// beyond the limit count together, without their distinguishing fields.
const maxUses = 20_000

// id returns the id of a use.
func (w *writer) id(u *row.Use) (int64, error) {
	if id, ok := w.ids[*u]; ok {
		return id, nil
	}
	if len(w.ids) >= w.maxUses {
		u = overflow(u)
		if id, ok := w.ids[*u]; ok {
			return id, nil
		}
	}
	fields := row.Fields()
	values := make([]any, len(fields))
	for i := range fields {
		values[i] = fields[i].Value(u)
	}
	result, err := w.tx.ExecContext(w.ctx, "INSERT INTO uses ("+strings.Join(columns(), ", ")+") VALUES (?"+strings.Repeat(", ?", len(values)-1)+")", values...) //nolint:gosec // columns are those of the schema
	if err != nil {
		return 0, err
	}
	id, err := result.LastInsertId()
	if err == nil {
		w.ids[*u] = id
	}
	return id, err
}

// overflow returns the use that replaces a use beyond the limit.
func overflow(u *row.Use) *row.Use {
	all := row.Use{Executable: Other, Unit: Other, Source: u.Source, Operation: Other}
	switch u.Operation {
	case row.TLSHandshake, row.SSHHandshake, row.Sign, row.Verify, row.Encrypt, row.Decrypt, row.Encapsulate, row.Decapsulate, row.Generate, row.Derive:
		all.Operation = u.Operation
	}
	return &all
}

// coverage adds losses, missing entries and times without recording.
func (w *writer) coverage(counts *counting.Counts) error {
	var errs []error
	for _, l := range counts.Lost {
		errs = append(errs, w.exec("INSERT INTO lost VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET events = events + excluded.events",
			l.Hour.Unix(), l.Reason, int64(l.Number)))
	}
	for _, l := range counts.Missing {
		errs = append(errs, w.exec("INSERT INTO missing VALUES (?, ?) ON CONFLICT DO UPDATE SET entries = entries + excluded.entries",
			l.Hour.Unix(), int64(l.Number)))
	}
	for _, s := range counts.Down {
		errs = append(errs, w.exec("INSERT OR IGNORE INTO down VALUES (?, ?, ?, ?)", s.From.UnixMicro(), s.To.UnixMicro(), s.Reason, s.Library))
	}
	return errors.Join(errs...)
}

// state replaces the state.
func (w *writer) state(counts *counting.Counts, s *State) error {
	errs := []error{w.exec("UPDATE state SET cursor = ?, first = ?, entry = ?, counter = ?", s.Cursor, int64(s.First), int64(s.Entry), s.Counter)}
	if !counts.Begin.IsZero() {
		errs = append(errs, w.exec("UPDATE state SET since = iif(since = 0, ?1, min(since, ?1)), until = max(until, ?2)",
			counts.Begin.UnixMicro(), counts.End.UnixMicro()))
	}
	return errors.Join(errs...)
}
