// SPDX-License-Identifier: Apache-2.0

// Package inventoryservice serves org.crypto_auditing.Inventory on D-Bus: rows of the inventory,
// and the answers that are derived from them. dbus/org.crypto_auditing.Inventory.xml describes the
// interface.
//
// Calls first wait for the inventory to catch up with the log, for a few seconds at most; concurrent
// calls share that work. Replies are bounded and counted until their callers have read them (package
// transport), so that a client that does not read cannot prevent the bus from delivering to others.
package inventoryservice
