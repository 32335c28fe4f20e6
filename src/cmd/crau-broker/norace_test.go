// SPDX-License-Identifier: Apache-2.0

//go:build !race

package main

// underRace is set if the race detector is on.
const underRace = false
