// SPDX-License-Identifier: Apache-2.0

// Command flood makes TCP connections to itself at a rate, sends the beginning of a TLS
// handshake through each, and resets it. It prints the number of connections.
//
//	flood [--rate CONNECTIONS-PER-SECOND] [--duration SECONDS]
package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	rate := flag.Int("rate", 40_000, "maximum number of connections per second")
	seconds := flag.Int("duration", 5, "duration in seconds")
	flag.Parse()
	n, err := flood(*rate, time.Duration(*seconds)*time.Second)
	if err != nil {
		fmt.Fprintln(os.Stderr, "flood:", err)
		os.Exit(1)
	}
	fmt.Println("connections", n)
}

// hello returns the first record of a TLS client in one piece: the headers of the record
// and the message, a version, a random value, no session, one cipher suite and no
// extensions.
func hello() []byte {
	const body = 2 + 32 + 1 + 2 + 2 + 2
	b := []byte{22, 3, 1, 0, 4 + body, 1, 0, 0, body, 3, 3}
	b = append(b, make([]byte, 32)...)
	return append(b, 0, 0, 2, 0x13, 0x01, 1, 0)
}

func flood(rate int, duration time.Duration) (n int, err error) {
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := errors.Join(unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(listener, 16)); err != nil {
		return 0, err
	}
	address, err := unix.Getsockname(listener)
	if err != nil {
		return 0, err
	}
	message := hello()
	for begin := time.Now(); time.Since(begin) < duration; n++ {
		// After a delay on a busy machine it catches up.
		if ahead := time.Duration(n)*time.Second/time.Duration(rate) - time.Since(begin); ahead > time.Millisecond {
			time.Sleep(ahead)
		}
		binary.BigEndian.PutUint64(message[11:], uint64(n))
		if err := connection(listener, address, message); err != nil {
			return n, err
		}
	}
	return n, nil
}

// connection sends a message through a new connection and resets it.
func connection(listener int, address unix.Sockaddr, message []byte) error {
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(client, address); err != nil {
		return errors.Join(err, unix.Close(client))
	}
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return errors.Join(err, unix.Close(client))
	}
	buffer := make([]byte, len(message))
	_, sendErr := unix.Write(client, message)
	_, receiveErr := unix.Read(server, buffer)
	return errors.Join(sendErr, receiveErr,
		// A reset frees the port at once; otherwise it stays in TIME_WAIT for a minute.
		unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
		unix.Close(client), unix.Close(server))
}
