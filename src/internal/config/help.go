// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Help lists the keys of a configuration with their values as TOML, for --help. The
// text of a key's help tag starts at column.
func Help(settings any, column int) string {
	var b strings.Builder
	writeHelp(&b, reflect.Indirect(reflect.ValueOf(settings)), column)
	return b.String()
}

func writeHelp(b *strings.Builder, v reflect.Value, column int) {
	for i := range v.NumField() {
		tag, value := v.Type().Field(i).Tag, v.Field(i)
		key, help := tag.Get("toml"), strings.Split(tag.Get("help"), "\n")
		if v.Type().Field(i).Anonymous {
			writeHelp(b, value, column)
			continue
		}
		table := value.Type() == reflect.TypeFor[Truncate]()
		text := "  " + key + " = " + literal(value)
		if table {
			text = "\n  [" + key + "]"
			column++ // for the line above
		}
		for _, line := range help {
			if line != "" {
				text = fmt.Sprintf("%-*s# %s", column, text, line)
			}
			b.WriteString(text + "\n")
			text = ""
		}
		if table {
			writeHelp(b, value, column-1)
		}
	}
}

// literal returns a value as TOML.
func literal(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case fmt.Stringer:
		return strconv.Quote(value.String())
	case string:
		return strconv.Quote(value)
	case []string:
		quoted := make([]string, len(value))
		for i := range value {
			quoted[i] = strconv.Quote(value[i])
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}
