// SPDX-License-Identifier: Apache-2.0

// Package observed models the observations of a period: the uses, and their coverage. The database of
// the inventory and the reader of log directories produce them; reports, policy checks and CBOMs are
// functions of them.
package observed

import (
	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/row"
)

// Observed has the observations of a period.
type Observed struct {
	// Uses has one row for each use, summed over the period, with its Start and Length. Uses are in
	// the order of executable, unit, operation and parameters.
	Uses []row.Row
	// Weeks has the handshakes of each week (Monday, UTC; the first and the last may be partial) by
	// only Operation, Version, Suite, Group and Kex, in the order of weeks.
	Weeks    []row.Row
	Coverage coverage.Coverage
}
