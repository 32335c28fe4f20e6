// SPDX-License-Identifier: Apache-2.0

package database

import (
	"context"
	"database/sql"
	"fmt"

	"crypto-auditing/src/internal/inventory/row"
)

// application is the application id of the file (PRAGMA application_id): "CRAU".
const application = 0x43524155

// steps returns the statements that upgrade the schema by one version each. The version is in PRAGMA
// user_version. Steps are never changed: a change of the schema is a new step.
func steps() []string {
	return []string{stepRows(), stepCoverage, stepFirst}
}

// columns returns the columns of the table uses.
func columns() []string {
	var names []string
	for _, f := range row.Fields() {
		names = append(names, quoted(f.Name))
	}
	return names
}

// quoted returns a name for SQL, in which group is a reserved word.
func quoted(name string) string { return `"` + name + `"` }

// stepRows creates the tables of rows.
func stepRows() string {
	const counts = `(
	start INTEGER NOT NULL,
	length INTEGER NOT NULL,
	use INTEGER NOT NULL REFERENCES uses (id),
	count INTEGER NOT NULL,
	failures INTEGER NOT NULL,
	relays INTEGER NOT NULL,
	first INTEGER NOT NULL,
	last INTEGER NOT NULL,
	PRIMARY KEY (start, length, use)
) STRICT, WITHOUT ROWID;
`
	return `CREATE TABLE uses (
	id INTEGER PRIMARY KEY,
	executable TEXT NOT NULL,
	unit TEXT NOT NULL,
	operation TEXT NOT NULL,
	within TEXT NOT NULL,
	role TEXT NOT NULL,
	source TEXT NOT NULL,
	library TEXT NOT NULL,
	library_id TEXT NOT NULL,
	version TEXT NOT NULL,
	suite TEXT NOT NULL,
	"group" TEXT NOT NULL,
	group_bits INTEGER NOT NULL,
	signature TEXT NOT NULL,
	peer_signature TEXT NOT NULL,
	resumed TEXT NOT NULL,
	extended_secret TEXT NOT NULL,
	transport TEXT NOT NULL,
	kex TEXT NOT NULL,
	host_key TEXT NOT NULL,
	client_key TEXT NOT NULL,
	cipher_out TEXT NOT NULL,
	cipher_in TEXT NOT NULL,
	mac_out TEXT NOT NULL,
	mac_in TEXT NOT NULL,
	algorithm TEXT NOT NULL,
	curve TEXT NOT NULL,
	bits INTEGER NOT NULL,
	hash TEXT NOT NULL,
	padding TEXT NOT NULL
) STRICT;
CREATE TABLE counts ` + counts + `CREATE TABLE incomplete ` + counts + `CREATE TABLE state (
	id INTEGER PRIMARY KEY CHECK (id = 1),
	cursor TEXT NOT NULL,
	entry INTEGER NOT NULL,
	since INTEGER NOT NULL,
	until INTEGER NOT NULL,
	maintained INTEGER NOT NULL,
	counter BLOB
) STRICT;
INSERT INTO state VALUES (1, '', 0, 0, 0, 0, NULL);
CREATE VIEW inventory AS
SELECT datetime(r.start, 'unixepoch') AS period, r.length / 3600 AS hours, u.*,
	sum(r.count) AS count, sum(r.failures) AS failures, sum(r.relays) AS relays,
	datetime(min(r.first) / 1000000, 'unixepoch') AS first, datetime(max(r.last) / 1000000, 'unixepoch') AS last
FROM (SELECT * FROM counts UNION ALL SELECT * FROM incomplete) AS r JOIN uses AS u ON u.id = r.use
GROUP BY r.start, r.length, r.use;
`
}

// stepCoverage creates the tables of losses, missing entries and times without recording.
const stepCoverage = `CREATE TABLE lost (
	hour INTEGER NOT NULL,
	reason TEXT NOT NULL,
	events INTEGER NOT NULL,
	PRIMARY KEY (hour, reason)
) STRICT, WITHOUT ROWID;
CREATE TABLE missing (
	hour INTEGER PRIMARY KEY,
	entries INTEGER NOT NULL
) STRICT;
CREATE TABLE down (
	"from" INTEGER NOT NULL,
	"to" INTEGER NOT NULL,
	reason TEXT NOT NULL,
	library TEXT NOT NULL,
	PRIMARY KEY ("from", "to", reason, library)
) STRICT, WITHOUT ROWID;
`

// stepFirst adds the number of the first counted entry of the log.
const stepFirst = "ALTER TABLE state ADD COLUMN first INTEGER NOT NULL DEFAULT 0"

// upgrade brings the schema to the version of the steps, all in one transaction.
func upgrade(ctx context.Context, db *sql.DB, steps []string) error {
	return transact(ctx, db, func(tx *sql.Tx) error {
		var id, version int
		for pragma, to := range map[string]*int{"application_id": &id, "user_version": &version} {
			if err := tx.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(to); err != nil {
				return err
			}
		}
		switch {
		case version > len(steps):
			return &NewerError{Version: version, Known: len(steps)}
		case id != application && (id != 0 || version != 0):
			return errForeign
		case version == len(steps):
			return nil
		}
		for _, step := range steps[version:] {
			if _, err := tx.ExecContext(ctx, step); err != nil {
				return err
			}
		}
		// A pragma takes no parameters.
		_, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", application, len(steps)))
		return err
	})
}

// transact runs do in a transaction, which is rolled back if it returns an error.
func transact(ctx context.Context, db *sql.DB, do func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		_ = tx.Rollback() // the error of do is returned
		return err
	}
	return tx.Commit()
}
