// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/program"
)

// The service manager on the bus, and the agent's service there.
const (
	managerName  = "org.freedesktop.systemd1"
	managerPath  = dbus.ObjectPath("/org/freedesktop/systemd1")
	agentService = "crypto-auditing-agent.service"
)

// failing returns why the agent's service fails, as the agent told the service
// manager; empty where it does not fail, or nobody knows. While the service
// starts it waits for the outcome.
func failing(ctx context.Context, e *Environment) string {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	connect := dbus.ConnectSystemBus
	if address := e.getenv("DBUS_SYSTEM_BUS_ADDRESS"); address != "" {
		connect = func(options ...dbus.ConnOption) (*dbus.Conn, error) { return dbus.Connect(address, options...) }
	}
	c, err := connect(dbus.WithContext(ctx))
	if err != nil {
		return ""
	}
	defer c.Close()
	var unit dbus.ObjectPath
	if err := c.Object(managerName, managerPath).CallWithContext(ctx, managerName+".Manager.GetUnit", 0, agentService).Store(&unit); err != nil {
		return ""
	}
	for ctx.Err() == nil {
		// All at once: it may be started again between two questions.
		var properties map[string]dbus.Variant
		if err := c.Object(managerName, unit).CallWithContext(ctx, "org.freedesktop.DBus.Properties.GetAll", 0, "").Store(&properties); err != nil {
			return ""
		}
		property := func(name string) string {
			text, _ := properties[name].Value().(string)
			return text
		}
		switch property("ActiveState") {
		case "failed":
		case "activating":
			if property("SubState") != "auto-restart" {
				time.Sleep(startPause)
				continue
			}
		default:
			return ""
		}
		if why, ok := strings.CutPrefix(property("StatusText"), program.Failed); ok {
			return why
		}
		return "see journalctl -u " + agentService
	}
	return ""
}

// startPause is the time between two looks at a service that starts.
const startPause = 50 * time.Millisecond
