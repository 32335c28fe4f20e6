// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"time"

	"crypto-auditing/src/client"
)

// Who still speaks TLS 1.2?
func Example() {
	ctx := context.Background()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	old := client.Filter{Matches: []string{"tls::protocol_version=771"}}
	for group, err := range c.Groups(ctx, client.Oldest, old) {
		var missing *client.MissingError
		switch {
		case errors.As(err, &missing):
			log.Print(missing)
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Println(group.Start.Format(time.DateTime), group.Executable)
		}
	}
}

// Print handshakes as they are recorded, until an interrupt.
func ExampleClient_Subscribe() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	s, err := c.Subscribe(ctx, client.SubscribeOptions{
		Filter: client.Filter{Contexts: []string{"tls::handshake", "tls::handshake_client", "tls::handshake_server"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for group, err := range s.Groups(ctx) {
		var skipped *client.Skipped
		switch {
		case errors.As(err, &skipped):
			log.Print(skipped)
		case errors.Is(err, context.Canceled):
			return
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Println(group.Executable, group.Data)
		}
	}
}

// A collector that misses nothing while it is not running: the broker keeps the
// subscription under its name, and sends more only after an acknowledgement.
func ExampleSubscription_Acknowledge() {
	ctx := context.Background()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	s, err := c.Subscribe(ctx, client.SubscribeOptions{Name: "collector", After: client.Oldest, Acknowledge: true})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	for batch, err := range s.Batches(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		if batch.Skipped != nil {
			log.Print(batch.Skipped)
		}
		for _, group := range batch.Groups {
			fmt.Println(group.Sequence) // store it
		}
		if err := s.Acknowledge(ctx, batch.Cursor); err != nil {
			log.Print(err)
		}
	}
}

// Read page by page, from where the last run ended.
func ExampleClient_Read() {
	ctx := context.Background()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	cursor := client.Oldest // or one that was saved
	for {
		page, err := c.Read(ctx, cursor, client.Filter{}, client.MaxRead)
		if err != nil {
			log.Fatal(err)
		}
		for _, group := range page.Groups {
			fmt.Println(group.Sequence, group.Name)
		}
		if page.Next == cursor {
			break
		}
		cursor = page.Next
	}
	fmt.Println("continue after", cursor)
}

// Copy the log as a CBOR sequence.
func ExampleStream_Read() {
	ctx := context.Background()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	stream, err := c.Open(ctx, client.Oldest, client.Filter{}, client.OpenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()
	if _, err := io.Copy(os.Stdout, stream); err != nil {
		log.Fatal(err)
	}
}

// Keep one week of the log, and print how much was removed.
func ExampleClient_Truncate() {
	ctx := context.Background()
	c, err := client.Connect(ctx, client.WithInteraction())
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	week := 7 * 24 * time.Hour
	removed, err := c.Truncate(ctx, client.Retention{MaxAge: &week})
	if errors.Is(err, client.ErrAccessDenied) {
		log.Fatal("not authorised: it takes root, or polkit")
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(removed.Bytes, "bytes")
}
