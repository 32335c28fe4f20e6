// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"crypto-auditing/src/internal/agent"
	"crypto-auditing/src/internal/attach"
	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/discover"
	"crypto-auditing/src/internal/program"
)

// serviceUser is the user of the service.
const serviceUser = "crypto-auditing"

// checkSettings checks the settings and the files that they name, and prints the result.
// When run by root, it checks the installed configuration as the service's user.
func (s *settings) checkSettings(stdout io.Writer) error {
	user, err := program.CheckAs(serviceUser, len(s.files) > 0)
	if err != nil {
		return err
	}
	files, err := s.configuration()
	if err != nil {
		return program.Permanent(err)
	}
	conf, err := s.load()
	var bad *config.Error
	var usage program.UsageError
	switch {
	case errors.As(err, &bad), errors.As(err, &usage):
		return err
	case err != nil:
		return program.Permanent(fmt.Errorf("%w (as user %s)", err, user))
	}
	n, problems := attach.Check(discover.Named(conf.Library), agent.Sources(
		slices.Contains(conf.Sources, config.SourceUSDT), slices.Contains(conf.Sources, config.SourceFunction)))
	logDir := conf.LogDir + " is writable"
	if len(s.files) == 0 && user == serviceUser && isMadeAtStart(conf.LogDir) {
		logDir = conf.LogDir + " is made when the service starts"
	} else if err := agent.CheckLogDir(conf.LogDir); err != nil {
		problems = append(problems, err)
	}
	if len(problems) > 0 {
		return program.Permanent(fmt.Errorf("%w (as user %s)", errors.Join(problems...), user))
	}
	libraries := "the usual libraries are looked for"
	if len(conf.Library) > 0 {
		libraries = fmt.Sprintf("libraries with probes: %d", n)
	}
	if len(files) == 0 {
		files = []string{"the defaults"}
	}
	_, err = fmt.Fprintf(stdout, "as user %s: the configuration is valid (%s); %s; %s\n",
		user, strings.Join(files, ", "), libraries, logDir)
	if err != nil {
		return fmt.Errorf("cannot write output: %w", err)
	}
	return nil
}

// isMadeAtStart reports whether a log directory does not exist yet and is the one that the
// service manager creates for the unit (LogsDirectory=).
func isMadeAtStart(dir string) bool {
	_, err := os.Lstat(dir)
	return errors.Is(err, fs.ErrNotExist) && dir == config.DefaultAgent().LogDir
}
