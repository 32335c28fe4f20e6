// SPDX-License-Identifier: Apache-2.0

// Command bare causes the cost that a lone handshake has in the Go runtime, the
// compression and the kernel, without an agent: for each byte on standard input it waits
// for one flush window, compresses 3 kB and appends them to a file.
//
//	bare INPUT OUTPUT
//
// It prints "ready" when it waits for the first byte.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

const (
	// size is about the size of a recorded handshake's entries, in bytes.
	size = 3000
	// window is the agent's flush window.
	window = 100 * time.Millisecond
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: bare INPUT OUTPUT")
	}
	input, err := os.Open(os.Args[1])
	if err != nil {
		return err
	}
	text := make([]byte, size)
	_, err = io.ReadFull(input, text)
	if err == nil {
		err = input.Close()
	}
	if err != nil {
		return fmt.Errorf("cannot read input: %w", err)
	}
	out, err := os.OpenFile(os.Args[2], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	// Non-blocking makes the runtime poll it: a thread that waits in a system call keeps
	// the runtime's monitor awake.
	if err := unix.SetNonblock(0, true); err != nil {
		return fmt.Errorf("cannot wait for standard input: %w", err)
	}
	stdin := os.NewFile(0, "stdin")
	fmt.Println("ready")
	var compressed []byte
	for round := uint64(0); ; round++ {
		var b [1]byte
		if _, err := stdin.Read(b[:]); err == io.EOF {
			return out.Close()
		} else if err != nil {
			return err
		}
		time.Sleep(window)
		binary.LittleEndian.PutUint64(text, round)
		compressed = encoder.EncodeAll(text, compressed[:0])
		if _, err := out.Write(compressed); err != nil {
			return err
		}
	}
}
