// SPDX-License-Identifier: Apache-2.0

package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Hours is how long rows of hours are kept. Then they become rows of days.
const Hours = 35 * 24 * time.Hour

const day = 24 * time.Hour

// Maintain merges rows of hours that are older than Hours into rows of days, and deletes rows that are
// older than retention; 0 keeps all. It first checks the file: IsDamage is true for the error if the
// file is damaged. It does nothing within a day of the last maintenance.
func (d *Database) Maintain(ctx context.Context, now time.Time, retention time.Duration) error {
	var last int64
	if err := d.db.QueryRowContext(ctx, "SELECT maintained FROM state").Scan(&last); err != nil {
		return fmt.Errorf("cannot read the state of inventory %s: %w", d.path, err)
	}
	if since := now.Unix() - last; since >= 0 && since < int64(day/time.Second) {
		return nil
	}
	if err := d.check(ctx); err != nil {
		return fmt.Errorf("cannot check inventory %s: %w", d.path, err)
	}
	err := transact(ctx, d.db, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		hours := now.Add(-Hours).Truncate(day).Unix()
		errs := []error{
			w.exec("UPDATE state SET maintained = ?", now.Unix()),
			w.exec(`INSERT INTO counts SELECT start / 86400 * 86400, 86400, use, sum(count), sum(failures), sum(relays), min(first), max(last)
				FROM counts WHERE length = 3600 AND start < ? GROUP BY start / 86400, use`+addUp, hours),
			w.exec("DELETE FROM counts WHERE length = 3600 AND start < ?", hours),
		}
		if retention > 0 {
			oldest := now.Add(-retention)
			for _, table := range []string{"counts", "incomplete"} {
				errs = append(errs, w.exec("DELETE FROM "+table+" WHERE start + length <= ?", oldest.Unix()))
			}
			errs = append(errs,
				w.exec("DELETE FROM lost WHERE hour + 3600 <= ?", oldest.Unix()),
				w.exec("DELETE FROM missing WHERE hour + 3600 <= ?", oldest.Unix()),
				w.exec(`DELETE FROM down WHERE "to" <= ?`, oldest.UnixMicro()),
				w.exec("UPDATE state SET since = max(since, ?) WHERE since <> 0", oldest.UnixMicro()),
			)
		}
		errs = append(errs, w.exec("DELETE FROM uses WHERE id NOT IN (SELECT use FROM counts UNION SELECT use FROM incomplete)"))
		return errors.Join(errs...)
	})
	d.ids = nil // some uses are deleted
	if err != nil {
		return fmt.Errorf("cannot maintain inventory %s: %w", d.path, err)
	}
	return nil
}

// damageError reports damage found by a check of the file.
type damageError struct{ problem string }

func (e *damageError) Error() string { return "it is damaged: " + e.problem }

// check reads the whole file.
func (d *Database) check(ctx context.Context) error {
	var result string
	if err := d.db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
		return err
	}
	if result != "ok" {
		return &damageError{result}
	}
	return nil
}
