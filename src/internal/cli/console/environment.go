// SPDX-License-Identifier: Apache-2.0

// Package console has the common parts of the commands of crauctl: the environment,
// errors and exit statuses, options.
package console

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"crypto-auditing/src/internal/agentunit"
	"crypto-auditing/src/internal/config"
)

// Environment has the parts of the system that crauctl uses.
type Environment struct {
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Lookup   func(name string) (value string, ok bool)
	Now      func() time.Time
	Location *time.Location
	// Version is the version of the build, "" if unknown.
	Version string
	// AnswerTime is the timeout for an answer of the inventory; 0 disables it.
	AnswerTime time.Duration
	// ProcStat is the file with the boot time (proc(5)).
	ProcStat string
	// Systemd is a directory that exists if the system runs systemd
	// (agentunit.Systemd).
	Systemd string
	// ConfigDirs hold the configuration of the services.
	ConfigDirs []string
	// RegistryDirs hold the registry files of packages and of the administrator.
	RegistryDirs []string
	// RulesDirs hold the files of rules of packages and of the administrator.
	RulesDirs []string
	// PolicyEtc and PolicyShare are the directories of crypto-policies for the administrator and for
	// packages (crypto-policies(7)).
	PolicyEtc, PolicyShare string
}

// answerTime exceeds the time that the inventory counts before it answers, and that a user needs for a password.
const answerTime = 2 * time.Minute

// System returns the environment of the process. version is the version of the build.
func System(version string) Environment {
	return Environment{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Lookup: os.LookupEnv, Now: time.Now, Location: location(os.Getenv("TZ")),
		Version:      version,
		AnswerTime:   answerTime,
		ProcStat:     "/proc/stat",
		Systemd:      agentunit.Systemd,
		ConfigDirs:   config.Directories(),
		RegistryDirs: []string{"/usr/lib/crypto-auditing/registry.d", "/etc/crypto-auditing/registry.d"},
		RulesDirs:    []string{"/usr/lib/crypto-auditing/rules.d", "/etc/crypto-auditing/rules.d"},
		PolicyEtc:    "/etc/crypto-policies",
		PolicyShare:  "/usr/share/crypto-policies",
	}
}

// Getenv returns the value of an environment variable, empty if it is not set.
func (e *Environment) Getenv(name string) string {
	value, _ := e.Lookup(name)
	return value
}

// LogDirectory returns the directory of this machine's log, from the configuration of
// its agent.
func (e *Environment) LogDirectory() (string, error) {
	files, err := config.Files("agent", e.ConfigDirs...)
	if err != nil {
		return "", fmt.Errorf("cannot find the log of this machine, name it by --directory: %w", err)
	}
	conf, _, err := config.LoadAgent(files...)
	if err != nil {
		return "", fmt.Errorf("cannot find the log of this machine, name it by --directory: %w", err)
	}
	return conf.LogDir, nil
}

// BootTime returns the boot time of this machine, in nanoseconds since the Unix epoch.
func (e *Environment) BootTime() (int64, error) {
	text, err := os.ReadFile(e.ProcStat)
	if err != nil {
		return 0, fmt.Errorf("cannot read time of boot: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "btime "); ok {
			seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("cannot read time of boot: line btime of %s is not a number of seconds", e.ProcStat)
			}
			return seconds * int64(time.Second), nil
		}
	}
	return 0, fmt.Errorf("cannot read time of boot: %s has no line btime; use --boot-time", e.ProcStat)
}
