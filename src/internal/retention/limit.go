// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"strconv"

	"crypto-auditing/src/internal/quantity"
)

// Limit is a number of bytes, absolute or relative to the file system; 0: no limit.
type Limit struct {
	Bytes int64
	// Percent, if not 0, is used instead of Bytes: a percentage of the file system.
	Percent int
	// Auto selects the default of MaxSize, 10 % of the file system but at most 4 GiB,
	// or of KeepFree, 15 % of the file system, as in journald.conf(5).
	Auto bool
}

const (
	autoSize = 10
	autoFree = 15
	// AutoSizeBound is the upper bound of the default of MaxSize.
	AutoSizeBound = 4 << 30
)

// String returns the limit in its notation in a configuration.
func (l Limit) String() string {
	switch {
	case l.Auto:
		return "auto"
	case l.Percent > 0:
		return strconv.Itoa(l.Percent) + "%"
	}
	return quantity.FormatSize(l.Bytes)
}

// in returns the limit in bytes on a file system of total bytes.
func (l Limit) in(total int64) int64 {
	if l.Percent > 0 {
		return total / 100 * int64(l.Percent)
	}
	return l.Bytes
}

// Depends reports whether Bounds depends on the file system.
func (p *Policy) Depends() bool {
	depends := func(l Limit) bool { return l.Auto || l.Percent > 0 }
	return depends(p.MaxSize) || depends(p.KeepFree)
}

// Bounds returns the maximum size of a store on a file system of total bytes, and the
// space that must stay free there, in bytes; 0: no limit.
func (p *Policy) Bounds(total int64) (maxSize, keepFree int64) {
	if maxSize = p.MaxSize.in(total); p.MaxSize.Auto {
		maxSize = min(Limit{Percent: autoSize}.in(total), AutoSizeBound)
	}
	if keepFree = p.KeepFree.in(total); p.KeepFree.Auto {
		keepFree = Limit{Percent: autoFree}.in(total)
	}
	return maxSize, keepFree
}
