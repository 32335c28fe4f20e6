// SPDX-License-Identifier: Apache-2.0

// Package observed is the model of what answers are made of: what was used in a period, and how
// complete that knowledge is. The database of the inventory and the reader of log directories produce
// it; reports, policy checks and CBOMs are functions of it.
package observed

import (
	"crypto-auditing/src/internal/inventory/coverage"
	"crypto-auditing/src/internal/inventory/row"
)

// Observed is what was used in a period.
type Observed struct {
	// Uses has one row for each use, summed over the period: Start and Length are those of the
	// period. Uses are in the order of executable, unit, operation and parameters.
	Uses []row.Row
	// Weeks has the handshakes of each week (Monday, UTC; the first and the last may be cut) by
	// Operation, Version, Suite, Group and Kex alone, in the order of weeks.
	Weeks    []row.Row
	Coverage coverage.Coverage
}
