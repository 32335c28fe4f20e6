// SPDX-License-Identifier: Apache-2.0

// Package broker serves the log to clients; it is the only reader on their behalf.
// It is independent of transports, which provide an encoding of groups and a
// destination for them.
//
// One goroutine, the tail, reads every chunk once after it was appended, selects
// the receivers of each group by one index of all filters, encodes each selected
// group once, and caches the newest ones in bounded memory. Every attached
// subscription has a goroutine that takes its groups from the cache or, if it lags
// further, from the log, and sends them in windows. Groups that a client does not
// accept stay in the log: nothing waits for the client, and nothing is buffered
// for it.
//
// A group is sent at most once: the position after a window is in the journal, and
// synced, before the window is sent. The journal collects requests while it syncs,
// so that one sync serves all subscriptions.
//
// The parts are subpackages; this package joins them and is called by transports.
// Imports point down: delivery uses tail and journal, which use reading and filter.
//
// Lock order: Broker.mu, delivery.Subscription.mu, tail.Cache.mu,
// journal.Journal.mu.
package broker
