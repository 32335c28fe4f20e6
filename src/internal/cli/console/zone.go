// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/binary"
	"regexp"
	"time"
)

// posixZone matches a time zone that is given by its rules instead of a name
// (POSIX.1-2024, 8.3), such as CET-1CEST,M3.5.0,M10.5.0/3.
var posixZone = regexp.MustCompile(`^([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?[0-9]{1,3}(:[0-9]{2}){0,2}` +
	`(([A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)([+-]?[0-9]{1,3}(:[0-9]{2}){0,2})?(,[^,]+,[^,]+)?)?$`)

// location returns the time zone of the variable TZ. Package time only supports names.
func location(tz string) *time.Location {
	if !posixZone.MatchString(tz) {
		return time.Local
	}
	if named, err := time.LoadLocation(tz); err == nil {
		return named // EST5EDT is also a name
	}
	// A file of the time zone database (RFC 9636) without transitions. It ends with the
	// rules for all later times.
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
