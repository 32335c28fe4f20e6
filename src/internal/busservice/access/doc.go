// SPDX-License-Identifier: Apache-2.0

// Package access decides which calls are served: who the callers on a bus are,
// what they may do, with or without polkit, and how many calls run at the same
// time.
package access
