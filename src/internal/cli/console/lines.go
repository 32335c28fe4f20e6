// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Lines is the value of --lines.
type Lines int

// Values of Lines.
const (
	// AllLines is "all".
	AllLines     = Lines(-1)
	defaultLines = "10"
)

func (l *Lines) String() string {
	if *l == AllLines {
		return "all"
	}
	return strconv.Itoa(int(*l))
}

func (l *Lines) Set(text string) error {
	if text == "all" {
		*l = AllLines
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return errors.New("it must not be negative: a number, or all")
	}
	*l = Lines(n)
	return nil
}

func (l *Lines) Type() string { return "N" }

// CurrentBoot is the value of --boot without an argument.
const CurrentBoot = "current"

// optional returns the default of an option whose value is optional, and a function that
// reports whether an argument is its value, valid or not; nil for other options.
func optional(option string) (without string, is func(argument string) bool) {
	switch option {
	case "lines":
		return defaultLines, isLines
	case "boot":
		return CurrentBoot, isBoot
	}
	return "", nil
}

// Complete returns the arguments of the command line, with a value added after each -n
// and -b that lacks one: pflag does not support options whose value is optional but may be a
// separate argument.
func Complete(command *cobra.Command, arguments []string) []string {
	if command.Flags().Lookup("lines") == nil {
		return arguments
	}
	var all []string
	for i := 0; i < len(arguments); i++ {
		if arguments[i] == "--" {
			return append(all, arguments[i:]...)
		}
		all = append(all, arguments[i])
		option := awaiting(command.Flags(), arguments[i])
		next := ""
		if i+1 < len(arguments) {
			next = arguments[i+1]
		}
		if option == nil {
			continue
		}
		switch without, is := optional(option.Name); {
		case is != nil && !is(next):
			all = append(all, without)
		case i+1 < len(arguments):
			all = append(all, next)
			i++
		}
	}
	return all
}

// isLines reports whether an argument is a value of --lines, valid or not.
func isLines(argument string) bool {
	_, err := strconv.ParseInt(argument, 10, 64)
	return err == nil || argument == "all" || errors.Is(err, strconv.ErrRange)
}

// isBoot reports whether an argument is a value of --boot, valid or not: a number, or a
// text that begins like a boot id.
func isBoot(argument string) bool {
	const digits = 8
	if len(argument) > 3*digits {
		_, err := hex.DecodeString(argument[:digits])
		return err == nil
	}
	_, err := strconv.ParseInt(argument, 10, 64)
	return err == nil || argument == CurrentBoot || errors.Is(err, strconv.ErrRange)
}

// awaiting returns the option whose value is the next argument, nil if there is none.
func awaiting(flags *pflag.FlagSet, argument string) *pflag.Flag {
	if name, ok := strings.CutPrefix(argument, "--"); ok {
		if flag := flags.Lookup(name); flag != nil && flag.NoOptDefVal == "" {
			return flag
		}
		return nil
	}
	letters, ok := strings.CutPrefix(argument, "-")
	if !ok {
		return nil
	}
	for i := range len(letters) {
		flag := flags.ShorthandLookup(letters[i : i+1])
		if flag == nil {
			return nil
		}
		if flag.NoOptDefVal == "" {
			if i == len(letters)-1 {
				return flag
			}
			return nil
		}
	}
	return nil
}
