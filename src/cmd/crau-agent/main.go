// SPDX-License-Identifier: Apache-2.0

// Command crau-agent records the use of cryptography by the programs on this machine. See
// crau-agent(8).
package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/agent"
	"crypto-auditing/src/internal/config"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/opener"
	"crypto-auditing/src/internal/program"
	"crypto-auditing/src/internal/varlinkservice/agentclient"
)

// version is set by the build.
var version = "devel"

// memoryLimit, in bytes, makes the garbage collector run more often instead of letting the
// agent grow, because the agent must not burden the machines that it monitors.
const memoryLimit = 36 << 20

func main() { program.Main(memoryLimit, newCommand) }

func newCommand(stdout, stderr io.Writer) *cobra.Command {
	s := settings{flags: config.DefaultAgent()}
	flags := &s.flags
	command := &cobra.Command{
		Use:   "crau-agent",
		Short: "Record which cryptography programs use",
		Long: `crau-agent attaches to the probes of the crypto libraries on this machine and
writes what they report to the log. On SIGTERM and SIGINT it writes the events
captured so far and exits. On SIGHUP it reloads its configuration.

It needs root, or CAP_BPF and CAP_PERFMON (on kernels before 6.6 also
CAP_SYS_ADMIN), and CAP_LEASE to let programs overwrite a library safely.

Configuration: agent.conf in /etc/crypto-auditing or /usr/lib/crypto-auditing,
and drop-ins in agent.conf.d of both. Keys, with their defaults:

` + config.Help(flags, 30) + `
Durations are those of systemd.time(7), as "30d", "2weeks" or "1h 30min". Sizes
take K, M, G or T; max_size and keep_free also a percentage of the file system of
the log, as "10%".

Exit status: 0 after a signal; 1 on failure; 2 on bad usage; 78 on bad
configuration, and on what fails in the same way at every start, such as a
missing capability.`,
		Version:       version,
		Args:          program.NoArguments,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(c *cobra.Command, _ []string) error {
			s.changed, s.log = c.Flags().Changed, message.New(stderr)
			switch {
			case s.check && s.reloadAgent:
				return program.Usage(errors.New("--check and --reload exclude each other"))
			case s.check:
				return program.Finding(s.checkSettings(stdout))
			case s.reloadAgent:
				return program.Finding(requestReload(c.Context(), cmp.Or(s.varlink, agentclient.Socket)))
			}
			return record(&s, s.log)
		},
	}
	f := command.Flags()
	f.SortFlags = false
	f.StringArrayVarP(&s.files, "config", "c", nil, "read `FILE` instead of the installed configuration (may be repeated)")
	f.StringArrayVar(&flags.Library, "library", nil, "attach to `FILE`, a path or a glob (may be repeated)")
	f.StringVar(&flags.LogDir, "log-dir", flags.LogDir, "write the log to `DIR`")
	f.Var(program.DurationFlag{Duration: &flags.CoalesceWindow, Unit: time.Millisecond}, "coalesce-window", "gather events of one context for `TIME`, such as 100ms")
	f.StringVar(&s.varlink, "varlink", "", "make a varlink socket at `PATH`, if the service manager passes none")
	f.BoolVar(&s.check, "check", false, "check the configuration and what it names, as the service's user, and exit")
	f.BoolVar(&s.reloadAgent, "reload", false, "have the running agent read its configuration again, wait until it is in effect, and exit")
	// For tests of the profile that the running kernel would not select, and without the
	// service manager.
	f.StringVar(&s.profile, "profile", "", "attach by `PROFILE`, uprobe_multi or perf_event")
	f.StringVar(&s.opener, "opener", opener.Socket, "reach crau-opener at `PATH`")
	for _, name := range []string{"profile", "opener"} {
		if err := f.MarkHidden(name); err != nil {
			panic(err)
		}
	}
	return command
}

func record(s *settings, log *slog.Logger) error {
	o, err := s.options()
	if errors.Is(err, fs.ErrPermission) {
		err = program.Permanent(err)
	}
	if err != nil {
		return err
	}
	service, err := newService(log)
	if err != nil {
		return err
	}
	callers, err := listenForCallers(s.varlink, log)
	if err != nil {
		return err
	}
	defer callers.close()
	o.Log = log
	o.Changed = service.changed
	o.Ready = func() {
		message.Recording.Log(log, "log_dir", o.LogDir)
		service.ready()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	a, err := agent.New(ctx, o)
	if agent.Permanent(err) {
		err = program.Permanent(err)
	}
	if err != nil {
		return err
	}
	serving, stopServing := context.WithCancel(ctx)
	var beside sync.WaitGroup
	reload := func() error { return s.reload(a, log) }
	beside.Go(func() { service.run(serving, a, reload) })
	beside.Go(func() { callers.serve(serving, a, reload) })
	err = a.Run(ctx)
	stopServing()
	beside.Wait()
	if agent.Permanent(err) {
		err = program.Permanent(err)
	}
	return err
}
