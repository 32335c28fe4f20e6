// SPDX-License-Identifier: Apache-2.0

package figures

import (
	"fmt"
	"math"
	"slices"
)

// Sample is a list of measurements of one quantity. Its methods sort it.
type Sample []float64

// Quantile returns the value below which the share q of the sample lies.
func (s Sample) Quantile(q float64) float64 {
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

// Median returns the middle value.
func (s Sample) Median() float64 { return s.Quantile(0.5) }

// Spread describes the interval of the middle half of the sample.
func (s Sample) Spread() string {
	return fmt.Sprintf("half of %d between %s and %s", len(s), Number(s.Quantile(0.25)), Number(s.Quantile(0.75)))
}
