// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"crypto-auditing/src/internal/config"
)

// Notify notifies the service manager, if there is one (sd_notify(3)).
func Notify(state string) { _, _ = daemon.SdNotify(false, state) }

// Watchdog notifies the watchdog of the service manager while alive returns nil, if the
// watchdog is enabled (sd_watchdog_enabled(3)). It returns when ctx is done.
func Watchdog(ctx context.Context, alive func(context.Context) error, log *slog.Logger) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Error("cannot notify the watchdog of the service manager", "error", err)
	}
	if err != nil || interval == 0 {
		return
	}
	for ctx.Err() == nil {
		asking, cancel := context.WithTimeout(ctx, interval/2)
		if err := alive(asking); err == nil {
			Notify(daemon.SdNotifyWatchdog)
		}
		cancel()
		select {
		case <-ctx.Done():
		case <-time.After(interval / 3):
		}
	}
}

// systemBus is the default address of the system bus (D-Bus specification, "Well-known
// Message Bus Instances").
const systemBus = "unix:path=/var/run/dbus/system_bus_socket"

// BusAddress returns the given address of the bus, or else the address of the system bus.
func BusAddress(given string) string {
	if given != "" {
		return given
	}
	if address := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); address != "" {
		return address
	}
	return systemBus
}

// readersName is the name of the group whose members may read the log.
const readersName = "crypto-auditing"

// Readers looks up the group whose members may read the log; nil if it does not exist.
func Readers() (*uint32, error) {
	g, err := user.LookupGroup(readersName)
	var unknown user.UnknownGroupError
	if errors.As(err, &unknown) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look up group %s: %w", readersName, err)
	}
	id, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("cannot look up group %s: %w", readersName, err)
	}
	n := uint32(id)
	return &n, nil
}

// Configuration returns the paths of the configuration files of a program: the given ones,
// or else the installed ones.
func Configuration(name string, given []string) ([]string, error) {
	if len(given) > 0 {
		return given, nil
	}
	return config.Files(name, config.Directories()...)
}

// Check checks the configuration of a program, as the user of its service unless files are given,
// and prints the result; load checks the contents of the files and the settings.
func Check(stdout io.Writer, service, name string, given []string, load func() error) error {
	user, err := CheckAs(service, len(given) > 0)
	if err != nil {
		return err
	}
	files, err := Configuration(name, given)
	if err == nil {
		err = load()
	}
	if errors.Is(err, fs.ErrPermission) {
		return Permanent(fmt.Errorf("%w (as user %s)", err, user))
	} else if err != nil {
		return err
	}
	if len(files) == 0 {
		files = []string{"the defaults"}
	}
	if _, err := fmt.Fprintf(stdout, "as user %s: the configuration is valid (%s)\n", user, strings.Join(files, ", ")); err != nil {
		return fmt.Errorf("cannot write output: %w", err)
	}
	return nil
}
