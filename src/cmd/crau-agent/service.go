// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/agent"
	"crypto-auditing/src/internal/message"
	"crypto-auditing/src/internal/wakeup"
)

// statusPause is the minimum time between two status texts.
const statusPause = 3 * time.Second

// recorder has the methods of agent.Agent that a service uses.
type recorder interface {
	Summary() agent.Summary
	Alive(ctx context.Context) error
}

// service notifies the service manager (sd_notify(3)): ready, reloading, stopping, an
// up-to-date status text, and the watchdog.
type service struct {
	log *slog.Logger
	// notify sends a state to the service manager.
	notify func(state string) error
	// watchdog is the interval of the watchdog; zero disables it.
	watchdog time.Duration
	// pause is the minimum time between two status texts.
	pause  time.Duration
	hangup chan os.Signal
	// recording is closed when the agent starts to record.
	recording chan struct{}
	// dirty is pending while the status may have changed.
	dirty wakeup.Signal
}

// newService returns the service of this process. Without a service manager, notifications
// do nothing.
func newService(log *slog.Logger) (*service, error) {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("cannot read the watchdog's interval: %w", err)
	}
	s := &service{
		log: log, watchdog: watchdog, pause: statusPause,
		hangup: make(chan os.Signal, 1), recording: make(chan struct{}), dirty: wakeup.New(),
		notify: func(state string) error {
			_, err := daemon.SdNotify(false, state)
			return err
		},
	}
	// From now on, SIGHUP does not terminate the process.
	signal.Notify(s.hangup, syscall.SIGHUP)
	return s, nil
}

// ready reports that the agent records. It must be called only once.
func (s *service) ready() { close(s.recording) }

// changed reports that the status may have changed. It never blocks.
func (s *service) changed() { s.dirty.Notify() }

// send sends assignments to the service manager.
func (s *service) send(assignments ...string) {
	if err := s.notify(strings.Join(assignments, "\n")); err != nil {
		s.log.Error("cannot notify the service manager", "error", err)
	}
}

// run serves from the start of recording until ctx is done. On SIGHUP it calls reload.
func (s *service) run(ctx context.Context, r recorder, reload func() error) {
	select {
	case <-ctx.Done():
		return
	case <-s.recording:
	}
	text := statusText(r.Summary())
	s.send(daemon.SdNotifyReady, "STATUS="+text)
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { s.reloads(ctx, reload) })
	if s.watchdog > 0 {
		beside.Go(func() { s.beats(ctx, r) })
	}
	var paused <-chan time.Time
	dirty := s.dirty
	// renew sends the status if it has changed, and then delays further changes for a
	// pause. Without changes there is no timer.
	renew := func() {
		dirty, paused = s.dirty, nil
		if now := statusText(r.Summary()); now != text {
			text = now
			s.send("STATUS=" + text)
			dirty, paused = nil, time.After(s.pause)
		}
	}
	for {
		select {
		case <-ctx.Done():
			s.send(daemon.SdNotifyStopping, "STATUS=writing what was recorded")
			return
		case <-dirty:
			renew()
		case <-paused:
			// A summary may be older than the change that was signalled.
			renew()
		}
	}
}

// reloads reloads on each SIGHUP, in a separate goroutine because attaching takes time.
func (s *service) reloads(ctx context.Context, reload func() error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.hangup:
			s.reload(reload)
		}
	}
}

func (s *service) reload(reload func() error) {
	var t unix.Timespec
	// The kernel has this clock, so the call cannot fail.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	s.send(daemon.SdNotifyReloading, "MONOTONIC_USEC="+strconv.FormatInt(t.Nano()/1000, 10))
	_ = reload() // which logs its error
	s.send(daemon.SdNotifyReady)
}

// beats notifies the watchdog while the pipeline makes progress. Without notifications the
// service manager restarts the service.
func (s *service) beats(ctx context.Context, r recorder) {
	// Half the interval, as recommended by sd_watchdog_enabled(3).
	ticker := time.NewTicker(s.watchdog / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		slow := time.AfterFunc(s.watchdog/4, func() {
			message.PipelineStuck.Log(s.log, "since", s.watchdog/4)
		})
		err := r.Alive(ctx)
		slow.Stop()
		if err == nil {
			s.send(daemon.SdNotifyWatchdog)
		}
		// A full disk causes no other notification.
		s.changed()
	}
}

// statusText returns a one-line summary of the status.
func statusText(s agent.Summary) string {
	var b strings.Builder
	var recorded []string
	if s.Libraries > 0 {
		recorded = append(recorded, count(uint64(s.Libraries), "library", "libraries"))
	}
	if s.Sockets {
		recorded = append(recorded, "handshakes at sockets")
	}
	if len(recorded) > 0 {
		b.WriteString("recording " + strings.Join(recorded, " and "))
	} else {
		b.WriteString("waiting for libraries with probes")
	}
	b.WriteString(", " + count(s.Hits, "hit", "hits") + ", ")
	var hits, events uint64
	var reasons []string
	for _, l := range s.Lost {
		if l.Hits == 0 && l.Events == 0 {
			continue
		}
		hits, events = hits+l.Hits, events+l.Events
		reasons = append(reasons, string(l.Reason))
	}
	if len(reasons) == 0 {
		b.WriteString("nothing lost")
	} else {
		fmt.Fprintf(&b, "lost %s, %s (%s)", count(hits, "hit", "hits"), count(events, "event", "events"), strings.Join(reasons, ", "))
	}
	if s.Full != "" {
		b.WriteString("; log write failed: " + s.Full)
	}
	return b.String()
}

// count formats a number with its unit and with thousands separators.
func count(n uint64, singular, plural string) string {
	digits := strconv.FormatUint(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if n == 1 {
		return digits + " " + singular
	}
	return digits + " " + plural
}
