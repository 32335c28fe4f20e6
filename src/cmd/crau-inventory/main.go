// SPDX-License-Identifier: Apache-2.0

// Command crau-inventory counts which cryptography programs use, and serves the counts. See
// crau-inventory(8).
package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/inventoryservice"
	"crypto-auditing/src/internal/inventoryservice/answers"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/program"
	"crypto-auditing/src/internal/schema"
)

// version is set by the build.
var version = "devel"

// memoryLimit, in bytes, makes the garbage collector run more often instead of letting the
// inventory grow.
const memoryLimit = 96 << 20

func main() { program.Main(memoryLimit, newCommand) }

// settings are the configuration files overridden by the command line.
type settings struct {
	// files are the configuration files named on the command line; none: the installed ones.
	files []string
	// flags has the values of flags; changed reports whether a flag was given.
	flags   config.Inventory
	changed func(flag string) bool
	// bus is the address of the bus; empty: the system bus.
	bus   string
	check bool
	log   *slog.Logger
}

func newCommand(stdout, stderr io.Writer) *cobra.Command {
	s := settings{flags: config.DefaultInventory()}
	flags := &s.flags
	command := &cobra.Command{
		Use:   "crau-inventory",
		Short: "Count which cryptography programs use",
		Long: `crau-inventory counts the operations in the log that crau-broker serves: which
program used which cryptography, how often, first and last. It keeps the counts
for years, and serves them as org.crypto_auditing.Inventory on the system bus. A
call or an hourly timer starts it; it exits when it is idle, and on SIGTERM and
SIGINT.

Configuration: inventory.conf in /etc/crypto-auditing or /usr/lib/crypto-auditing,
and drop-ins in inventory.conf.d of both. Keys, with their defaults:

` + config.Help(flags, 49) + `
Durations are those of systemd.time(7), as "30d", "2weeks" or "1h 30min".

Exit status: 0 after a signal, or when idle; 1 on failure; 2 on bad
usage; 78 on bad configuration.`,
		Version:       version,
		Args:          program.NoArguments,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			s.changed, s.log = c.Flags().Changed, message.New(stderr)
			if s.check {
				return program.Finding(s.checkSettings(stdout))
			}
			return s.serve()
		},
	}
	f := command.Flags()
	f.SortFlags = false
	f.StringArrayVarP(&s.files, "config", "c", nil, "read `FILE` instead of the installed configuration (may be repeated)")
	f.StringVar(&flags.StateDir, "state-dir", flags.StateDir, "keep the database in `DIR`")
	f.Var(program.DurationFlag{Duration: &flags.IdleTimeout, Off: true}, "idle-timeout", "exit after being idle for `TIME`; 0 disables")
	f.StringVar(&s.bus, "bus", "", "serve on the bus at `ADDRESS` instead of the system bus")
	f.BoolVar(&s.check, "check", false, "check the configuration, as the service's user, and exit")
	return command
}

// serviceUser is the user of the service.
const serviceUser = "crypto-auditing-inventory"

// checkSettings checks the settings and prints the result. When run by root, it checks the
// installed configuration as the service's user.
func (s *settings) checkSettings(stdout io.Writer) error {
	return program.Check(stdout, serviceUser, "inventory", s.files, func() error {
		if _, err := s.load(); err != nil {
			return err
		}
		_, err := schema.Installed()
		return err
	})
}

// load reads the configuration.
func (s *settings) load() (config.Inventory, error) {
	files, err := program.Configuration("inventory", s.files)
	if err != nil {
		return config.Inventory{}, err
	}
	conf, warnings, err := config.LoadInventory(files...)
	if err != nil {
		return config.Inventory{}, err
	}
	program.Warn(s.log, warnings)
	if s.changed("state-dir") {
		conf.StateDir = s.flags.StateDir
	}
	if s.changed("idle-timeout") {
		conf.IdleTimeout = s.flags.IdleTimeout
	}
	if err := conf.Check(); err != nil {
		return config.Inventory{}, program.Usage(err)
	}
	return conf, nil
}

// serve runs the service.
func (s *settings) serve() error {
	conf, err := s.load()
	if errors.Is(err, fs.ErrPermission) {
		err = program.Permanent(err)
	}
	if err != nil {
		return err
	}
	registry, err := schema.Installed()
	if err != nil {
		return err
	}
	group, err := program.Readers()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	address := program.BusAddress(s.bus)
	service, err := inventoryservice.New(inventoryservice.Options{
		Address: address, Version: version, Group: group, Registry: registry, Answers: answers.New(version, registry),
		Notify: program.Notify, Idle: conf.IdleTimeout.Duration, Log: s.log,
	})
	if err != nil {
		return err
	}
	broker, err := client.Connect(ctx, client.WithAddress(address))
	if err != nil {
		return err
	}
	defer broker.Close()
	store, err := open(ctx, &conf, address, broker, registry, s.log)
	if err != nil {
		return err
	}
	defer store.Close()
	go program.Watchdog(ctx, service.Alive, s.log)
	return service.Serve(ctx, store)
}
