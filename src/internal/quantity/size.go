// SPDX-License-Identifier: Apache-2.0

package quantity

import (
	"math"
	"strconv"
	"strings"
)

// SizeHelp is a list of valid sizes for errors and help.
const SizeHelp = "512M or 4G"

// ShareHelp is a list of valid sizes where a percentage is valid, too.
const ShareHelp = "512M, 4G or 10%"

// maxSize is the largest size, 4 EiB.
const maxSize = 1 << 62

// ParseSize parses a size and returns its number of bytes: a number with K, M, G or T, in
// powers of 1024, or with B for bytes. A number without a unit is an error, except zero.
// The error is an *Error with help as examples.
func ParseSize(text, help string) (int64, error) {
	invalid := &Error{Text: clip(text), Problem: "is not a valid size: use for example " + help}
	if len(text) > maxText {
		return 0, invalid
	}
	whole, fraction, unit, ok := number(text)
	if !ok || strings.HasPrefix(text, "+") {
		return 0, invalid
	}
	unit = strings.TrimLeft(unit, " ")
	shift := 0
	if unit == "" {
		if whole == text && strings.Trim(whole, "0") != "" {
			return 0, &Error{Text: clip(text), Problem: noUnit + help, NoUnit: true}
		}
	} else if i := strings.IndexByte("KMGTkmgt", unit[0]); i >= 0 {
		shift = 10 * (1 + i%4)
		unit = strings.TrimPrefix(unit[1:], "i")
		if unit == "" && text[len(text)-1] == 'i' {
			return 0, invalid
		}
	}
	if unit != "" && unit != "B" {
		return 0, invalid
	}
	return bytes(whole, fraction, shift, invalid)
}

// bytes converts a number in units of 1<<shift to bytes.
func bytes(whole, fraction string, shift int, invalid error) (int64, error) {
	n := int64(0)
	if whole != "" {
		var err error
		if n, err = strconv.ParseInt(whole, 10, 64); err != nil || n > maxSize>>shift {
			return 0, invalid
		}
	}
	part := 0.0
	if fraction != "" {
		var err error
		if part, err = strconv.ParseFloat("0."+fraction, 64); err != nil || shift == 0 {
			return 0, invalid
		}
	}
	return n<<shift + int64(math.Floor(part*float64(int64(1)<<shift))), nil
}

// ParsePercent parses a percentage with a percent sign, 0 to 100; ok is false for other
// texts.
func ParsePercent(text string) (percent int, ok bool) {
	number, found := strings.CutSuffix(text, "%")
	if !found || number == "" || len(number) > 3 || digits(number) != len(number) {
		return 0, false
	}
	percent, err := strconv.Atoi(number)
	return percent, err == nil && percent <= 100
}

// FormatSize formats a size for ParseSize, in the largest unit of which it is a multiple.
func FormatSize(n int64) string {
	if n == 0 {
		return "0"
	}
	unit := 0
	for unit < len("KMGT") && n%1024 == 0 {
		n /= 1024
		unit++
	}
	return strconv.FormatInt(n, 10) + "BKMGT"[unit:unit+1]
}
