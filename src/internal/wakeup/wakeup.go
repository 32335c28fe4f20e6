// SPDX-License-Identifier: Apache-2.0

// Package wakeup wakes a goroutine that waits in a select for something to have
// changed.
package wakeup

// Signal is a wake-up that is pending or not: one that waits is woken once, however
// often it was notified. It is received from as from any channel.
type Signal chan struct{}

// New returns a Signal that is not pending.
func New() Signal { return make(Signal, 1) }

// Notify makes the wake-up pending. It never blocks, and may be called concurrently.
func (s Signal) Notify() {
	select {
	case s <- struct{}{}:
	default:
	}
}
