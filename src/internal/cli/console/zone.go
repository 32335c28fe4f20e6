// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/binary"
	"regexp"
	"time"
)

// posixZone is the form of a time zone in the environment that is no name: that
// of POSIX.1-2024, 8.3, as CET-1CEST,M3.5.0,M10.5.0/3.
var posixZone = regexp.MustCompile(`^([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?[0-9]{1,3}(:[0-9]{2}){0,2}` +
	`(([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)([+-]?[0-9]{1,3}(:[0-9]{2}){0,2})?(,[^,]+,[^,]+)?)?$`)

// location returns the time zone that the variable TZ names. Package time reads
// names only.
func location(tz string) *time.Location {
	if !posixZone.MatchString(tz) {
		return time.Local
	}
	if named, err := time.LoadLocation(tz); err == nil {
		return named // EST5EDT is a name, too
	}
	// A file of the time zone database (RFC 9636) without transitions, which ends
	// with the rules for all that follow.
	file := make([]byte, 0, 128)
	for range 2 {
		file = append(file, "TZif2"...)
		file = append(file, make([]byte, 15)...)
		for _, count := range []uint32{0, 0, 0, 0, 1, 4} { // one type of time, four letters of its name
			file = binary.BigEndian.AppendUint32(file, count)
		}
		file = append(file, 0, 0, 0, 0, 0, 0) // UTC
		file = append(file, "UTC\x00"...)
	}
	zone, err := time.LoadLocationFromTZData(tz, append(file, "\n"+tz+"\n"...))
	if err != nil {
		return time.Local
	}
	return zone
}
