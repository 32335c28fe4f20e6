// SPDX-License-Identifier: Apache-2.0

package agentctl

import (
	"context"

	"crypto-auditing/src/client"
	"crypto-auditing/src/client/inventory"
	"crypto-auditing/src/internal/cli/bus"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
)

// inventoryStatus is the state of the inventory.
type inventoryStatus struct {
	// Running: the other fields are only known if it is set. A status request does not start the inventory.
	Running bool   `json:"running"`
	Version string `json:"version,omitempty"`
	// Uncounted is the number of entries of the log that are not counted yet.
	Uncounted uint64 `json:"uncounted"`
	Counting  bool   `json:"counting"`
	// UpToDate is the cursor up to which the log was counted.
	UpToDate client.Cursor `json:"upToDate,omitempty"`
	Error    string        `json:"error,omitempty"`
}

// queryInventory gets the state of the inventory, nil if it is not installed.
func queryInventory(ctx context.Context, e *console.Environment) *inventoryStatus {
	answering, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c, err := bus.Connect(answering, e)
	if err != nil {
		return nil // queryBroker reports the same error
	}
	defer c.Close()
	i := inventory.Of(c)
	installed, running, err := i.State(answering)
	switch {
	case err != nil || !installed:
		return nil
	case !running:
		return &inventoryStatus{}
	}
	s, err := i.Status(answering)
	if err != nil {
		return &inventoryStatus{Running: true, Error: err.Error()}
	}
	return &inventoryStatus{Running: true, Version: s.Version, Uncounted: s.Uncounted, Counting: s.Counting, UpToDate: s.UpToDate}
}

// inventory prints the state of the inventory, after the broker's status.
func (p *statusPrinter) inventory(s *inventoryStatus) {
	if s.Error != "" {
		p.name("○", "", "crau-inventory")
		p.line("Trouble", "%s: see systemctl status crypto-auditing-inventory", printable(s.Error))
		return
	}
	if !s.Running {
		p.name("○", "", "crau-inventory")
		p.line("State", "not running: questions start it, and a timer every hour")
		return
	}
	p.name("●", dotGood, "crau-inventory "+printable(s.Version))
	switch {
	case s.Uncounted == 0:
		p.line("Counted", "all entries of the log")
	case s.Counting:
		p.line("Counted", "all but %s, counting", render.Counted(s.Uncounted, "entry"))
	default:
		p.line("Counted", "all but %s, which the next question or hour counts", render.Counted(s.Uncounted, "entry"))
	}
}
