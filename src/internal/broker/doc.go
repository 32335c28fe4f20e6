// SPDX-License-Identifier: Apache-2.0

// Package broker stands between the log and those who want to know what is in
// it: it is the only reader on their behalf. It knows no transport; those give
// it a form for groups and a place to send them.
//
// One goroutine, the tail, reads every chunk once as it is appended, decides
// by one index of all filters who gets which group, brings each of these
// groups into its form once, and keeps the newest of them in memory, in bounds.
// Every subscription that is attached has a goroutine that takes its groups
// from there, or, if it is further behind, from the log, and sends them window
// by window. What a client does not take is left in the log: nobody waits for
// it, and nothing is kept for it.
//
// A group is sent at most once: the position behind a window is in the journal,
// and synced, before the window is sent. The journal gathers what is asked of
// it while it syncs, so that one sync serves all subscriptions.
//
// The parts are packages of their own below this one, which joins them and is what
// transports call. Imports point down: delivery uses tail and journal, these use
// reading and filter.
//
// Locks, in the order in which they may be taken: Broker.mu,
// delivery.Subscription.mu, tail.Cache.mu, journal.Journal.mu.
package broker
