// SPDX-License-Identifier: Apache-2.0

package retention

import (
	"strconv"

	"crypto-auditing/src/internal/quantity"
)

// Limit is a number of bytes, which may depend on the file system; 0: no limit.
type Limit struct {
	Bytes int64
	// Percent, if it is not 0, is that share of the file system instead.
	Percent int
	// Auto is the default of MaxSize and of KeepFree instead: 10 % of the file
	// system, at most 4 GiB, and 15 % of it, as journald.conf(5) has them.
	Auto bool
}

const (
	autoSize = 10
	autoFree = 15
	// AutoSizeBound is the most that MaxSize is by default.
	AutoSizeBound = 4 << 30
)

// String returns the limit as configurations have it.
func (l Limit) String() string {
	switch {
	case l.Auto:
		return "auto"
	case l.Percent > 0:
		return strconv.Itoa(l.Percent) + "%"
	}
	return quantity.FormatSize(l.Bytes)
}

// in returns the limit in bytes on a file system of that many bytes.
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

// Bounds returns how many bytes a store may have on a file system of that many
// bytes, and how many are to stay free there; 0: no limit.
func (p *Policy) Bounds(total int64) (maxSize, keepFree int64) {
	if maxSize = p.MaxSize.in(total); p.MaxSize.Auto {
		maxSize = min(Limit{Percent: autoSize}.in(total), AutoSizeBound)
	}
	if keepFree = p.KeepFree.in(total); p.KeepFree.Auto {
		keepFree = Limit{Percent: autoFree}.in(total)
	}
	return maxSize, keepFree
}
