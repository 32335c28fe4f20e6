// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"slices"
)

// sample is a list of measurements of one thing. Its methods sort it.
type sample []float64

// quantile returns the value below which the share q of the sample lies.
func (s sample) quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	slices.Sort(s)
	at := q * float64(len(s)-1)
	i := int(at)
	if i == len(s)-1 {
		return s[i]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}

func (s sample) median() float64 { return s.quantile(0.5) }

// spread says between what half of the sample lies.
func (s sample) spread() string {
	return fmt.Sprintf("half of %d between %s and %s", len(s), number(s.quantile(0.25)), number(s.quantile(0.75)))
}
