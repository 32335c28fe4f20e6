// SPDX-License-Identifier: Apache-2.0

package observed

import (
	"context"
	"strings"
	"time"

	"crypto-auditing/src/client/inventory"
	"crypto-auditing/src/internal/cli/bus"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/inventory/row"
)

// completionTime bounds the time of a completion, for which the service may have to be started.
const completionTime = 2 * time.Second

// completeValues returns the values of a field in the inventory that begin with typed, the most
// frequent first. It never prompts for a password, and never counts a log. Errors are silent.
func (f *Flags) completeValues(ctx context.Context, e *console.Environment, field, typed string) (values []string) {
	if f.IsLog() {
		return nil
	}
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	quiet := *e
	quiet.Stdin = nil
	c, err := bus.Dial(ctx, &quiet)
	if err != nil {
		return nil
	}
	defer c.Close()
	rows, err := inventory.Of(c).Summarize(ctx, []string{field}, inventory.Filter{})
	if err != nil {
		return nil
	}
	known, ok := row.FieldNamed(field)
	for i := range rows {
		if value := known.Text(&rows[i].Use); ok && value != "" && strings.HasPrefix(value, typed) {
			values = append(values, value)
		}
	}
	return values
}
