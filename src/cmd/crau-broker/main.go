// SPDX-License-Identifier: Apache-2.0

// Command crau-broker serves the log of crypto-auditing to subscribers and readers. See
// crau-broker(8).
package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/broker"
	"crypto-auditing/src/internal/broker/delivery"
	"crypto-auditing/src/internal/busservice"
	"crypto-auditing/src/internal/busservice/transport"
	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/program"
)

// version is set by the build.
var version = "devel"

// memoryLimit, in bytes, makes the garbage collector run more often instead of letting the
// broker grow.
const memoryLimit = 80 << 20

func main() { program.Main(memoryLimit, newCommand) }

func newCommand(stdout, stderr io.Writer) *cobra.Command {
	s := settings{flags: config.DefaultBroker()}
	flags := &s.flags
	command := &cobra.Command{
		Use:   "crau-broker",
		Short: "Serve the log of cryptographic events",
		Long: `crau-broker serves the log of crau-agent as org.crypto_auditing.Broker on the
system bus. Subscribers receive every event at most once. Readers may also use
its varlink socket. A call starts it; it exits when it is idle, and on SIGTERM
and SIGINT.

Configuration: broker.conf in /etc/crypto-auditing or /usr/lib/crypto-auditing,
and drop-ins in broker.conf.d of both. Keys, with their defaults:

` + config.Help(flags, 37) + `
Durations are those of systemd.time(7), as "30d", "2weeks" or "1h 30min". Sizes
take K, M, G or T, or are a percentage of the file system of the log, as "10%".

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
			return serve(&s, s.log)
		},
	}
	f := command.Flags()
	f.SortFlags = false
	f.StringArrayVarP(&s.files, "config", "c", nil, "read `FILE` instead of the installed configuration (may be repeated)")
	f.StringVar(&flags.LogDir, "log-dir", flags.LogDir, "serve the log in `DIR`")
	f.StringVar(&flags.StateDir, "state-dir", flags.StateDir, "keep subscriptions in `DIR`")
	f.StringVar(&flags.AgentSocket, "agent-socket", flags.AgentSocket, "ask the agent at `PATH`")
	f.Var(program.DurationFlag{Duration: &flags.IdleTimeout, Off: true}, "idle-timeout", "exit after being idle for `TIME`; 0 disables")
	f.StringVar(&s.bus, "bus", "", "serve on the bus at `ADDRESS` instead of the system bus")
	f.StringVar(&s.varlink, "varlink", "", "make a varlink socket at `PATH`, if the service manager passes none")
	f.BoolVar(&s.check, "check", false, "check the configuration, as the service's user, and exit")
	return command
}

// stateWait is how long to wait for a broker that is exiting.
const stateWait = 30 * time.Second

func serve(s *settings, log *slog.Logger) error {
	conf, err := s.load()
	if errors.Is(err, fs.ErrPermission) {
		err = program.Permanent(err)
	}
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	options, err := brokerOptions(&conf)
	if err != nil {
		return err
	}
	options.Log, options.StateWait, options.AgentUnit = log, stateWait, s.agentUnit(&conf)
	direct, err := listenForCallers(s.varlink, log)
	if err != nil {
		return err
	}
	defer direct.close()
	group, err := program.Readers()
	if err != nil {
		return err
	}
	for {
		service, err := busservice.New(busservice.Options{
			Address: s.address(), Version: version, Group: group, Idle: conf.IdleTimeout.Duration, Log: log,
			Notify: program.Notify, Busy: direct.busy,
		})
		if err == nil {
			return serveBus(ctx, service, options, direct, group)
		}
		if !direct.listening() || !errors.Is(err, busservice.ErrNoBus) {
			return err
		}
		message.NoBus.Log(log, "error", err)
		busAvailable, err := serveDirectly(ctx, options, direct, group, conf.IdleTimeout.Duration, s.address())
		if err != nil || !busAvailable {
			return err
		}
	}
}

// serveBus serves the clients on the bus and on the varlink socket.
func serveBus(ctx context.Context, service *busservice.Service, o broker.Options, direct *callers, group *uint32) error {
	o.Appended = service.Appended
	b, err := broker.New(o)
	if err != nil {
		return err
	}
	go program.Watchdog(ctx, service.Alive, o.Log)
	return direct.serving(b, group, func() error { return service.Serve(ctx, b) })
}

// serveDirectly serves the varlink socket without a bus, until ctx is done or the broker has
// been idle for idle. busAvailable reports whether the bus has become available.
func serveDirectly(ctx context.Context, o broker.Options, direct *callers, group *uint32, idle time.Duration, bus string) (busAvailable bool, err error) {
	b, err := broker.New(o)
	if err != nil {
		return false, err
	}
	watched, unwatch := context.WithCancel(ctx)
	defer unwatch()
	go program.Watchdog(watched, func(context.Context) error { return nil }, o.Log)
	running, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(running, func(delivery.Sink) string { return "" }) }()
	err = direct.serving(b, group, func() error {
		program.Notify(daemon.SdNotifyReady)
		busAvailable = awaitIdle(ctx, idle, func() bool { return direct.busy() || !b.Idle() }, bus)
		if !busAvailable {
			program.Notify(daemon.SdNotifyStopping)
		}
		return nil
	})
	stop()
	return busAvailable, errors.Join(err, <-ended)
}

// awaitIdle returns false when the broker has not been busy for idle, unless idle is 0, or
// when ctx is done. It returns true when the broker is not busy and the bus is available.
func awaitIdle(ctx context.Context, idle time.Duration, busy func() bool, bus string) bool {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for since := time.Now(); ; {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		switch {
		case busy():
			since = time.Now()
		case transport.Reachable(bus):
			return true
		case idle > 0 && time.Since(since) >= idle:
			return false
		}
	}
}
