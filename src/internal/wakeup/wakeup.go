// SPDX-License-Identifier: Apache-2.0

// Package wakeup wakes a goroutine that waits for a change in a select statement.
package wakeup

// Signal is a wake-up that is pending or not: any number of notifications wakes the
// receiver once. Receive from it as from any channel.
type Signal chan struct{}

// New returns a Signal that is not pending.
func New() Signal { return make(Signal, 1) }

// Notify makes the wake-up pending. It never blocks and is safe for concurrent use.
func (s Signal) Notify() {
	select {
	case s <- struct{}{}:
	default:
	}
}
