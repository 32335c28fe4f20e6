// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"crypto-auditing/src/internal/cli/console"
)

// optionError rewords an error of package pflag about an option.
func optionError(_ *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	var missing *pflag.ValueRequiredError
	var unknown *pflag.NotExistError
	switch {
	case errors.As(err, &invalid):
		problem := invalid.Unwrap().Error()
		if errors.As(err, new(*strconv.NumError)) {
			problem = "it must be a whole number"
			if invalid.GetFlag().Value.Type() == "bool" {
				problem = "it must be true or false"
			}
		}
		return console.Usagef("bad value %q of --%s: %s", invalid.GetValue(), invalid.GetFlag().Name, problem)
	case errors.As(err, &missing):
		return console.Usagef("the option --%s needs a value", missing.GetFlag().Name)
	case errors.As(err, &unknown):
		if name := unknown.GetSpecifiedName(); len(name) > 1 {
			return console.Usagef("unknown option --%s", name)
		}
		return console.Usagef("unknown option -%s", unknown.GetSpecifiedName())
	}
	return err
}
