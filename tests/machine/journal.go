// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Entry has the fields of a journal entry.
type Entry map[string]string

// ParseJournal parses the output of journalctl -o json. Fields that are not text, or have
// several values, are omitted.
func ParseJournal(output string) (entries []Entry, err error) {
	for line := range strings.Lines(output) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			return nil, fmt.Errorf("journalctl prints %q: %w", line, err)
		}
		entry := Entry{}
		for name, value := range fields {
			if text, ok := value.(string); ok {
				entry[name] = text
			}
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// Recorded returns the sums of recorded and of lost hits that the agent logged when its
// runs ended.
func Recorded(entries []Entry) (recorded, lost int, err error) {
	for _, entry := range entries {
		text, _, _ := strings.Cut(entry["MESSAGE"], " (")
		var sum *int
		var field string
		switch text {
		case "stopped":
			sum, field = &recorded, "RECORDED_HITS"
		case "lost":
			sum, field = &lost, "LOST_HITS"
		default:
			continue
		}
		n, err := strconv.Atoi(entry[field])
		if err != nil {
			return 0, 0, fmt.Errorf("cannot parse %s in the agent's message %v: %w", field, entry, err)
		}
		*sum += n
	}
	return recorded, lost, nil
}
