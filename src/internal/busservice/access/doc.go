// SPDX-License-Identifier: Apache-2.0

// Package access decides whose calls are served: who the callers on a bus are,
// what they may do, with polkit or without, and how many calls are served at the
// same time.
package access
