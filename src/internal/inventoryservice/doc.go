// SPDX-License-Identifier: Apache-2.0

// Package inventoryservice serves org.crypto_auditing.Inventory on D-Bus: rows of the inventory,
// and the answers that follow from them. The interface is described in
// dbus/org.crypto_auditing.Inventory.xml.
//
// Calls first wait for the inventory to catch up with the log, for some seconds at most; calls at the
// same time share that work. Replies are bounded and counted until their callers have read them (package
// transport), so that a client that does not read cannot keep the bus from delivering to others.
package inventoryservice
