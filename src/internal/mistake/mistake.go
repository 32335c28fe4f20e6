// SPDX-License-Identifier: Apache-2.0

// Package mistake describes errors in TOML files (https://toml.io/en/v1.0.0) with the terms
// of TOML and their lines, and finds the name that was probably intended.
package mistake

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// wrongType matches the decoder's error for a value of the wrong type.
var wrongType = regexp.MustCompile(`^cannot decode TOML ([\w ]+) into (?:a )?(?:struct field .* of type )?(\S+)$`)

// Describe returns a description of the error with the key concerned.
func Describe(err *toml.DecodeError) string {
	problem := strings.TrimPrefix(err.Error(), "toml: ")
	if m := wrongType.FindStringSubmatch(problem); m != nil {
		problem = "its type is " + m[1] + ", but it must be " + expected(m[2])
	}
	if key := strings.Join(err.Key(), "."); key != "" {
		problem = fmt.Sprintf("key %q: %s", key, problem)
	}
	return problem
}

// expected returns the TOML name for values of a Go type.
func expected(name string) string {
	switch {
	case strings.HasPrefix(name, "[]"):
		return "an array"
	case strings.HasPrefix(name, "map["):
		return "a table"
	case name == "string":
		return "a string"
	case name == "bool":
		return "a boolean"
	case strings.HasPrefix(name, "int"), strings.HasPrefix(name, "uint"):
		return "an integer"
	case strings.HasSuffix(name, ".Size"):
		return "a size, such as \"512M\""
	case strings.HasSuffix(name, ".Duration"):
		return "a duration, such as \"30d\""
	}
	return "another one"
}
