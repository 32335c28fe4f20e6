// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// intruder marks the denials of the program that tries forbidden actions.
const intruder = `comm="intruder"`

// denial is an access that SELinux denied, or an error that it reported.
type denial struct {
	line string
	// source, target and class are empty for errors.
	source, target, class string
	permissions           []string
}

// denials are the denials of a run.
type denials struct {
	ours     []denial
	expected int      // the number of the intruder's denials
	others   []denial // of programs of the distribution, unrelated to the project
}

// parseDenials returns the denials in an audit log.
func parseDenials(audit string) (found denials) {
	serial := regexp.MustCompile(`audit\([0-9.]+:[0-9]+\)`)
	permissions := regexp.MustCompile(`denied +\{ ([^}]*) \}`)
	seen := map[string]bool{}
	for line := range strings.Lines(audit) {
		line = strings.TrimSpace(line)
		id := serial.FindString(line)
		isDenial := strings.Contains(line, "avc:  denied")
		// 1401 is SELINUX_ERR (linux/audit.h).
		isError := strings.Contains(line, "SELINUX_ERR") || strings.Contains(line, "type=1401")
		if id == "" || !isDenial && !isError || seen[line] {
			continue
		}
		seen[line] = true
		d := denial{line: line}
		if m := permissions.FindStringSubmatch(line); m != nil {
			d.source, d.target = typeOf(line, "scontext"), typeOf(line, "tcontext")
			d.class, d.permissions = field(line, "tclass"), strings.Fields(m[1])
		}
		switch {
		case strings.Contains(line, intruder):
			found.expected++
		case concernsUs(line):
			found.ours = append(found.ours, d)
		default:
			found.others = append(found.others, d)
		}
	}
	return found
}

// concernsUs reports whether a denial concerns the project's domains, types, files or
// programs.
func concernsUs(line string) bool {
	for _, mark := range []string{
		"crypto_auditing", "crypto-auditing", "cryptoauditing", "crau_", "crauctl_",
		`comm="crau`, `comm="tests"`, `comm="handshake"`, `comm="replay"`, "unconfined_t:s0",
	} {
		if strings.Contains(line, mark) {
			return true
		}
	}
	return false
}

// field returns the value of a field of an audit record.
func field(line, name string) string {
	_, value, _ := strings.Cut(line, " "+name+"=")
	if fields := strings.Fields(value); len(fields) > 0 {
		return strings.Trim(fields[0], `"'`)
	}
	return ""
}

// typeOf returns the type of a context: user:role:type:level.
func typeOf(line, name string) string {
	parts := strings.Split(field(line, name), ":")
	if len(parts) < 3 {
		return ""
	}
	return parts[2]
}

// hint returns the rules that would allow denials, as audit2allow(1) does.
func hint(all []denial) string {
	rules := map[string][]string{}
	for _, d := range all {
		if d.source == "" {
			continue
		}
		target := d.target
		if target == d.source {
			target = "self"
		}
		rule := fmt.Sprintf("    allow %s %s:%s", d.source, target, d.class)
		rules[rule] = append(rules[rule], d.permissions...)
	}
	var text strings.Builder
	for _, rule := range slices.Sorted(maps.Keys(rules)) {
		slices.Sort(rules[rule])
		fmt.Fprintf(&text, "%s { %s };\n", rule, strings.Join(slices.Compact(rules[rule]), " "))
	}
	return text.String()
}
