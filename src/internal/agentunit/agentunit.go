// SPDX-License-Identifier: Apache-2.0

// Package agentunit queries the service manager for the state of the agent's service.
//
// Connecting to the agent's socket starts the agent. A query of this package does not, so
// callers that only want the status query first.
package agentunit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/program"
)

// Service is the name of the agent's unit.
const Service = "crypto-auditing-agent.service"

// The service manager on the bus.
const (
	managerName = "org.freedesktop.systemd1"
	managerPath = dbus.ObjectPath("/org/freedesktop/systemd1")
	noSuchUnit  = "org.freedesktop.systemd1.NoSuchUnit"
)

// queryTimeout is the time limit of a query.
const queryTimeout = 5 * time.Second

// State is the state of the agent's service.
type State string

// The states.
const (
	// Running: the service records, or did at the last query.
	Running State = "running"
	// Starting: the service is starting.
	Starting State = "starting"
	// Stopped: the service does not run or is stopping.
	Stopped State = "stopped"
	// Failed: the service ended with an error. It may be waiting for a restart.
	Failed State = "failed"
	// Unknown: the service manager does not answer.
	Unknown State = "unknown"
	// Unmanaged: systemd does not run the machine, so connecting to the socket does not
	// start the agent. Only a connection shows whether the agent runs.
	Unmanaged State = "unmanaged"
)

// Systemd is a directory that exists if systemd runs the machine (sd_booted(3)).
const Systemd = "/run/systemd/system"

// MayConnect reports whether connecting to the agent's socket will not start the agent,
// because it runs or is starting.
func (s State) MayConnect() bool { return s == Running || s == Starting || s == Unmanaged }

// Status is the status of the service as the service manager reports it.
type Status struct {
	State State
	// Since is the time when the service became active or ended; zero if unknown.
	Since time.Time
	// Reason is the reason why it failed or why the state is unknown.
	Reason string
}

// Query returns the status. address is the address of the bus; empty: the system bus. systemd
// is Systemd except in tests.
func Query(ctx context.Context, address, systemd string) Status {
	s := query(ctx, address)
	if _, err := os.Lstat(systemd); s.State == Unknown && errors.Is(err, fs.ErrNotExist) {
		return Status{State: Unmanaged}
	}
	return s
}

func query(ctx context.Context, address string) Status {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	connect := dbus.ConnectSystemBus
	if address != "" {
		connect = func(options ...dbus.ConnOption) (*dbus.Conn, error) { return dbus.Connect(address, options...) }
	}
	c, err := connect(dbus.WithContext(ctx))
	if err != nil {
		return Status{State: Unknown, Reason: fmt.Sprintf("cannot connect to the system bus: %v", err)}
	}
	defer c.Close()
	var unit dbus.ObjectPath
	// Do not start a service manager.
	err = c.Object(managerName, managerPath).CallWithContext(ctx, managerName+".Manager.GetUnit", dbus.FlagNoAutoStart, Service).Store(&unit)
	// Query all properties at once: the service may restart between two queries.
	var properties map[string]dbus.Variant
	if err == nil {
		err = c.Object(managerName, unit).CallWithContext(ctx, "org.freedesktop.DBus.Properties.GetAll", dbus.FlagNoAutoStart, "").Store(&properties)
	}
	var answer dbus.Error
	switch {
	case err == nil:
		return statusOf(properties)
	case errors.As(err, &answer) && answer.Name == noSuchUnit:
		// A unit that is neither active nor referenced is not loaded.
		return Status{State: Stopped}
	}
	return Status{State: Unknown, Reason: fmt.Sprintf("cannot ask the service manager: %v", err)}
}

// statusOf evaluates the properties of the unit (org.freedesktop.systemd1(5)).
func statusOf(properties map[string]dbus.Variant) Status {
	text := func(name string) string {
		s, _ := properties[name].Value().(string)
		return s
	}
	since := func(name string) time.Time {
		if us, _ := properties[name].Value().(uint64); us != 0 {
			return time.UnixMicro(int64(us))
		}
		return time.Time{}
	}
	failed := func() Status {
		reason, ok := strings.CutPrefix(text("StatusText"), program.Failed)
		if !ok {
			reason = "see journalctl -u " + Service
		}
		return Status{State: Failed, Since: since("InactiveEnterTimestamp"), Reason: reason}
	}
	switch active := text("ActiveState"); active {
	case "active", "reloading", "refreshing":
		return Status{State: Running, Since: since("ActiveEnterTimestamp")}
	case "activating":
		if text("SubState") == "auto-restart" {
			return failed()
		}
		return Status{State: Starting}
	case "inactive", "deactivating":
		return Status{State: Stopped, Since: since("InactiveEnterTimestamp")}
	case "failed":
		return failed()
	default:
		return Status{State: Unknown, Reason: fmt.Sprintf("the service manager knows the state %q", active)}
	}
}
