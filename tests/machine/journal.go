// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Entry is an entry of the journal: its fields.
type Entry map[string]string

// ParseJournal reads what journalctl -o json prints.
func ParseJournal(output string) (entries []Entry, err error) {
	for line := range strings.Lines(output) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			return nil, fmt.Errorf("journalctl prints %q: %w", line, err)
		}
		entry := Entry{}
		for name, value := range fields {
			// Anything else is a value that is not text, or several.
			if text, ok := value.(string); ok {
				entry[name] = text
			}
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// Recorded adds up what the agent's runs logged as recorded, and lost, when
// they stopped.
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
			return 0, 0, fmt.Errorf("the agent logs %v", entry)
		}
		*sum += n
	}
	return recorded, lost, nil
}
