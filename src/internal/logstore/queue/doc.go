// SPDX-License-Identifier: Apache-2.0

// Package queue is what lies between the writer of a store and the disk: it
// writes chunks in order, begins segments, syncs when it is time, and goes on
// trying what the disk refuses.
package queue
