// SPDX-License-Identifier: Apache-2.0

package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
)

// Filter selects rows. A row must match each field that is set.
type Filter struct {
	// Fields has values of fields by the names of row.Fields, in the form of row.Field.Text. A row
	// matches a field if it has one of its values.
	Fields map[string][]string
	// Since and Until select rows with an operation at Since or later, and one before Until; zero
	// means no bound. All operations of such a row count.
	Since, Until time.Time
}

// FilterError reports a filter, a list of fields or a cursor that is not valid.
type FilterError struct{ Problem string }

func (e *FilterError) Error() string { return e.Problem }

// all has the rows of complete and incomplete operations.
const all = "(SELECT * FROM counts UNION ALL SELECT * FROM incomplete)"

// condition returns the filter as an SQL condition on r and u, with its parameters.
func (f *Filter) condition() (text string, parameters []any, err error) {
	conditions := []string{"true"}
	names := make([]string, 0, len(f.Fields))
	for name := range f.Fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		field, ok := row.FieldNamed(name)
		if !ok {
			return "", nil, &FilterError{"there is no field " + strconv.Quote(name)}
		}
		var u row.Use
		for _, value := range f.Fields[name] {
			if err := field.SetText(&u, value); err != nil {
				return "", nil, &FilterError{err.Error()}
			}
			parameters = append(parameters, field.Value(&u))
		}
		if n := len(f.Fields[name]); n > 0 {
			conditions = append(conditions, "u."+quoted(name)+" IN (?"+strings.Repeat(", ?", n-1)+")")
		}
	}
	times, more := period(f.Since, f.Until)
	return strings.Join(append(conditions, times...), " AND "), append(parameters, more...), nil
}

// has reports whether a use has the values of the fields, which must be valid.
func (f *Filter) has(u *row.Use) bool {
	for name, values := range f.Fields {
		if field, ok := row.FieldNamed(name); ok && len(values) > 0 && !slices.Contains(values, field.Text(u)) {
			return false
		}
	}
	return true
}

// period returns conditions for rows of a period.
func period(since, until time.Time) (conditions []string, parameters []any) {
	// The conditions on start, which is indexed, follow from the others.
	if !since.IsZero() {
		conditions = append(conditions, "r.start >= ?", "r.last >= ?")
		parameters = append(parameters, since.Add(-day).Unix(), since.UnixMicro())
	}
	if !until.IsZero() {
		conditions = append(conditions, "r.start <= ?", "r.first < ?")
		parameters = append(parameters, until.Unix(), until.UnixMicro())
	}
	return conditions, parameters
}

// queryer is a database or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, arguments ...any) (*sql.Rows, error)
}

// each runs a query and calls scan for each row of its result.
func each(ctx context.Context, q queryer, scan func(*sql.Rows) error, query string, parameters ...any) error {
	rows, err := q.QueryContext(ctx, query, parameters...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// readUses returns all uses by id.
func readUses(ctx context.Context, q queryer) (map[int64]*row.Use, error) {
	uses := make(map[int64]*row.Use)
	fields := row.Fields()
	err := each(ctx, q, func(rows *sql.Rows) error {
		u := new(row.Use)
		var id int64
		to := []any{&id}
		for i := range fields {
			to = append(to, fields[i].Pointer(u))
		}
		err := rows.Scan(to...)
		uses[id] = u
		return err
	}, "SELECT id, "+strings.Join(columns(), ", ")+" FROM uses")
	return uses, err
}

// tally are the counts of a row as the database has them.
type tally struct{ count, failures, relays, first, last int64 }

// sums are the columns of a sum of rows, for tally.
const sums = "sum(r.count), sum(r.failures), sum(r.relays), min(r.first), max(r.last)"

func (t *tally) pointers() []any {
	return []any{&t.count, &t.failures, &t.relays, &t.first, &t.last}
}

// row returns a row with the counts.
func (t *tally) row(start int64, length time.Duration, u *row.Use) row.Row {
	return row.Row{
		Start: time.Unix(start, 0).UTC(), Length: length, Use: *u,
		Count: uint64(t.count), Failures: uint64(t.failures), Relays: uint64(t.relays),
		First: time.UnixMicro(t.first).UTC(), Last: time.UnixMicro(t.last).UTC(),
	}
}

// List returns up to limit rows that match a filter after a position, in the order of their periods,
// and the position after them; it is empty at the end. The position before all rows is empty. Errors:
// a *FilterError.
func (d *Database) List(ctx context.Context, f Filter, after string, limit int) (list []row.Row, next string, err error) {
	condition, parameters, err := f.condition()
	if err != nil {
		return nil, "", err
	}
	if after != "" {
		var start, length, use int64
		if n, err := fmt.Sscanf(after, "%d-%d-%d", &start, &length, &use); err != nil || n != 3 {
			return nil, "", &FilterError{"there is no position " + strconv.Quote(after)}
		}
		condition += " AND (r.start, r.length, r.use) > (?, ?, ?)"
		parameters = append(parameters, start, length, use)
	}
	fields := make([]string, 0, len(columns()))
	for _, c := range columns() {
		fields = append(fields, "u."+c)
	}
	var use row.Use
	to := row.Fields()
	err = each(ctx, d.db, func(rows *sql.Rows) error {
		var start, length, id int64
		var t tally
		pointers := append([]any{&start, &length, &id}, t.pointers()...)
		for i := range to {
			pointers = append(pointers, to[i].Pointer(&use))
		}
		if err := rows.Scan(pointers...); err != nil {
			return err
		}
		list = append(list, t.row(start, time.Duration(length)*time.Second, &use))
		next = fmt.Sprintf("%d-%d-%d", start, length, id)
		return nil
	}, "SELECT r.start, r.length, r.use, "+sums+", "+strings.Join(fields, ", ")+" FROM "+all+" AS r JOIN uses AS u ON u.id = r.use WHERE "+condition+
		" GROUP BY r.start, r.length, r.use ORDER BY r.start, r.length, r.use LIMIT ?", append(parameters, limit)...)
	if err != nil {
		return nil, "", fmt.Errorf("cannot list rows of inventory %s: %w", d.path, err)
	}
	if len(list) < limit {
		next = ""
	}
	return list, next, nil
}

// Periods that Summarize can sum by.
const (
	ByDay  = "day"
	ByWeek = "week" // from Monday
)

// Summarize returns the sums of the rows that match a filter, one for each combination of the given
// fields, in their order; the other fields are empty. Besides fields, ByDay and ByWeek may be given.
// Start and Length are of the day or week, else zero. Errors: a *FilterError.
func (d *Database) Summarize(ctx context.Context, by []string, f Filter) ([]row.Row, error) {
	condition, parameters, err := f.condition()
	if err != nil {
		return nil, err
	}
	start, length := "0", time.Duration(0)
	var fields []row.Field
	groups := []string{"1"}
	for _, name := range by {
		switch field, ok := row.FieldNamed(name); {
		case name == ByDay:
			start, length = "r.start / 86400 * 86400", day
		case name == ByWeek:
			start, length = weekStart, 7*day
		case !ok:
			return nil, &FilterError{"there is no field " + strconv.Quote(name)}
		default:
			fields = append(fields, field)
			groups = append(groups, "u."+quoted(name))
		}
	}
	query := "SELECT " + start + ", " + sums
	for _, g := range groups[1:] {
		query += ", " + g
	}
	query += " FROM " + all + " AS r JOIN uses AS u ON u.id = r.use WHERE " + condition
	// Without groups, the sum of no rows would be one row.
	query += " GROUP BY " + strings.Join(groups, ", ") + " ORDER BY " + strings.Join(groups, ", ")
	var list []row.Row
	err = each(ctx, d.db, func(rows *sql.Rows) error {
		var at int64
		var t tally
		var use row.Use
		pointers := append([]any{&at}, t.pointers()...)
		for i := range fields {
			pointers = append(pointers, fields[i].Pointer(&use))
		}
		if err := rows.Scan(pointers...); err != nil {
			return err
		}
		r := t.row(at, length, &use)
		if length == 0 {
			r.Start = time.Time{}
		}
		list = append(list, r)
		return nil
	}, query, parameters...)
	if err != nil {
		return nil, fmt.Errorf("cannot summarize inventory %s: %w", d.path, err)
	}
	return list, nil
}

// weekStart is the Monday with which the week of a row begins: the epoch was a Thursday.
const weekStart = "((r.start + 259200) / 604800 * 604800 - 259200)"

// Observed returns the sums of the rows that match a filter, with the coverage of the filter's period as
// far as the database knows it. Errors: a *FilterError.
func (d *Database) Observed(ctx context.Context, f Filter) (*observed.Observed, error) {
	if _, _, err := f.condition(); err != nil {
		return nil, err
	}
	var o *observed.Observed
	err := transact(ctx, d.db, func(tx *sql.Tx) error {
		sum, err := add(ctx, tx, &f)
		if err != nil {
			return err
		}
		from, to, err := bounds(ctx, tx, f.Since, f.Until)
		if err != nil {
			return err
		}
		o = sum.Observed(from, to)
		return cover(ctx, tx, &o.Coverage, f.Since, f.Until)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read inventory %s: %w", d.path, err)
	}
	return o, nil
}

// add sums the rows that match a filter. A year has some 200,000 of them. Summing them here is faster than two
// sums by SQLite, by use and by week.
func add(ctx context.Context, tx *sql.Tx, f *Filter) (*observed.Sum, error) {
	uses, err := readUses(ctx, tx)
	if err != nil {
		return nil, err
	}
	conditions, parameters := period(f.Since, f.Until)
	where := " WHERE " + strings.Join(append([]string{"true"}, conditions...), " AND ")
	const columns = "SELECT r.start, r.use, r.count, r.failures, r.relays, r.first, r.last FROM "
	a := adder{uses: uses, has: f.has, weekUses: map[row.Use]int{}, byUse: map[int64]*summed{}, byWeek: map[weekKey]*tally{}}
	// Pointers to any need no conversion.
	var values [7]any
	var pointers [7]any
	for i := range values {
		pointers[i] = &values[i]
	}
	err = each(ctx, tx, func(rows *sql.Rows) error {
		if err := rows.Scan(pointers[:]...); err != nil {
			return err
		}
		var n [7]int64
		for i := range values {
			n[i], _ = values[i].(int64) // the tables are strict
		}
		return a.add(n[0], n[1], &tally{n[2], n[3], n[4], n[5], n[6]})
	}, columns+"counts AS r"+where+" UNION ALL "+columns+"incomplete AS r"+where, append(parameters, parameters...)...)
	return a.sum(), err
}

// adder adds rows by use, and by week.
type adder struct {
	uses     map[int64]*row.Use
	has      func(*row.Use) bool // the filter
	weekUses map[row.Use]int     // index of each part of a use that weeks distinguish
	byUse    map[int64]*summed
	byWeek   map[weekKey]*tally
	// week and end are the bounds of the week of the last row: rows are in the order of time.
	week, end int64
}

// summed is the sum of a use, with the index of its part that weeks distinguish; -1 if it is not a
// handshake. out is set if the filter does not match the use, which is then not summed.
type summed struct {
	tally

	weekUse int
	out     bool
}

type weekKey struct {
	week int64
	use  int
}

// join adds the counts of a row.
func (t *tally) join(other *tally) {
	t.count += other.count
	t.failures += other.failures
	t.relays += other.relays
	t.first, t.last = min(t.first, other.first), max(t.last, other.last)
}

func (a *adder) add(start, use int64, t *tally) error {
	to := a.byUse[use]
	if to == nil {
		u := a.uses[use]
		if u == nil {
			return &damageError{fmt.Sprintf("a row has the use %d, which is missing", use)}
		}
		to = &summed{tally: tally{first: t.first, last: t.last}, weekUse: -1, out: !a.has(u)}
		if u.IsHandshake() && !to.out {
			part := observed.WeekUse(u)
			n, ok := a.weekUses[part]
			if !ok {
				n = len(a.weekUses)
				a.weekUses[part] = n
			}
			to.weekUse = n
		}
		a.byUse[use] = to
	}
	if to.out {
		return nil
	}
	to.join(t)
	if to.weekUse < 0 {
		return nil
	}
	if start < a.week || start >= a.end {
		a.week = observed.Week(time.Unix(start, 0)).Unix()
		a.end = a.week + int64(7*day/time.Second)
	}
	key := weekKey{a.week, to.weekUse}
	week := a.byWeek[key]
	if week == nil {
		week = &tally{first: t.first, last: t.last}
		a.byWeek[key] = week
	}
	week.join(t)
	return nil
}

// sum returns the sums.
func (a *adder) sum() *observed.Sum {
	sum := observed.NewSum()
	for id, s := range a.byUse {
		if s.out {
			continue
		}
		r := s.row(0, 0, a.uses[id])
		sum.AddUse(&r)
	}
	parts := make([]row.Use, len(a.weekUses))
	for u, n := range a.weekUses {
		parts[n] = u
	}
	for key, t := range a.byWeek {
		r := t.row(key.week, 7*day, &parts[key.use])
		sum.AddWeek(&r)
	}
	return sum
}

// bounds returns the period, limited to the counted entries; zero times if there are none.
func bounds(ctx context.Context, tx *sql.Tx, since, until time.Time) (from, to time.Time, err error) {
	var first, last int64
	if err := tx.QueryRowContext(ctx, "SELECT since, until FROM state").Scan(&first, &last); err != nil {
		return from, to, err
	}
	if first == 0 {
		return from, to, nil
	}
	from, to = time.UnixMicro(first).UTC(), time.UnixMicro(last).UTC()
	if !since.IsZero() && since.After(from) {
		from = since
	}
	if !until.IsZero() && until.Before(to) {
		to = until
	}
	if to.Before(from) {
		return time.Time{}, time.Time{}, nil
	}
	return from, to, nil
}

// maxMicro is later than all times.
const maxMicro = 1<<63 - 1

// cover reads losses, missing entries and times without recording in a period.
func cover(ctx context.Context, tx *sql.Tx, c *coverage.Coverage, since, until time.Time) error {
	from, to := int64(0), int64(maxMicro)
	if !since.IsZero() {
		from = since.UnixMicro()
	}
	if !until.IsZero() {
		to = until.UnixMicro()
	}
	err := each(ctx, tx, func(rows *sql.Rows) error {
		var s coverage.Span
		var begin, end int64
		err := rows.Scan(&begin, &end, &s.Reason, &s.Library)
		s.From, s.To = time.UnixMicro(begin).UTC(), time.UnixMicro(end).UTC()
		c.Down = append(c.Down, s)
		return err
	}, `SELECT "from", "to", reason, library FROM down WHERE "to" >= ? AND "from" < ? ORDER BY "from"`, from, to)
	// Losses are known by the hour.
	const hours = " WHERE (hour + 3600) * 1000000 > ? AND hour * 1000000 < ?"
	errLost := each(ctx, tx, func(rows *sql.Rows) error {
		var reason string
		var events int64
		err := rows.Scan(&reason, &events)
		if c.Lost == nil {
			c.Lost = make(map[string]uint64)
		}
		c.Lost[reason] = uint64(events)
		return err
	}, "SELECT reason, sum(events) FROM lost"+hours+" GROUP BY reason", from, to)
	var missing, first, last int64
	errMissing := tx.QueryRowContext(ctx, "SELECT coalesce(sum(entries), 0) FROM missing"+hours, from, to).Scan(&missing)
	errState := tx.QueryRowContext(ctx, "SELECT first, entry FROM state").Scan(&first, &last)
	c.Missing, c.First, c.Last = uint64(missing), uint64(first), uint64(last)
	return errors.Join(err, errLost, errMissing, errState)
}
