// SPDX-License-Identifier: Apache-2.0

package inventoryservice_test

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/busservice/bustest"
	"crypto-auditing/src/internal/inventoryservice"
	"crypto-auditing/src/internal/schema"
)

func TestClientsMayDisconnectWhileTheServiceStarts(t *testing.T) {
	bus := bustest.Start(t, bustest.Daemon)
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			c, err := dbus.Connect(bus.Address)
			if err != nil {
				ended <- err
				return
			}
			c.Close()
		}
		ended <- nil
	}()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for range 20 {
		service, err := inventoryservice.New(inventoryservice.Options{
			Address: bus.Address, Registry: registry, Answers: answers{},
			Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Notify: func(string) {},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := service.Serve(over, &fake{}); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
