// SPDX-License-Identifier: Apache-2.0

package mappings

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"crypto-auditing/bpf"
)

// Mapped is a file that a process has mapped as executable.
type Mapped struct {
	// PID is the process id for the caller, Mounts the number of the mount namespace of
	// the process, 0 if the process is ending.
	PID    int
	Mounts uint32
	// Start and End are the addresses of the mapping.
	Start, End uint64
	// File identifies the file in which the kernel places a probe, as long as a process
	// or a probe uses it. Files of different overlays may have the same.
	File uint64
	// Device and Inode are the numbers of that file. Device is in the form of stat(2).
	Device, Inode uint64
	// FUSE reports whether a program, or another machine, is the file system of that
	// file, which could let readers wait forever.
	FUSE bool
	// Path is the path of the file in its mount namespace. Of an overlay, it may be that
	// in a layer.
	Path string
}

// Lister lists what processes have mapped. It is safe for use by several goroutines.
type Lister struct {
	mu         sync.Mutex
	collection *ebpf.Collection
	program    *ebpf.Program
}

// NewLister loads the BPF program. It needs CAP_BPF and CAP_PERFMON.
func NewLister() (*Lister, error) {
	spec, err := bpf.LoadMapped()
	if err != nil {
		return nil, fmt.Errorf("cannot read the BPF programs: %w", err)
	}
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("cannot load the BPF program that lists mappings: %w", err)
	}
	return &Lister{collection: collection, program: collection.Programs[bpf.MappedProgListMapped]}, nil
}

// Close unloads the program.
func (l *Lister) Close() { l.collection.Close() }

// List calls do for each executable mapping of a file, of the process pid, or of all
// processes that the caller can see if pid is 0. A process that does not exist has none.
func (l *Lister) List(pid int, do func(Mapped)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	iterator, err := l.iterator(pid)
	if errors.Is(err, unix.ESRCH) {
		return nil
	} else if err != nil {
		return fmt.Errorf("cannot list what processes have mapped: %w", err)
	}
	defer iterator.Close()
	if err := decodeMapped(iterator, do); err != nil {
		return fmt.Errorf("cannot list what processes have mapped: %w", err)
	}
	return nil
}

// decodeMapped decodes what the program writes.
func decodeMapped(from io.Reader, do func(Mapped)) error {
	r := bufio.NewReaderSize(from, 64<<10)
	var name []byte
	for {
		var m bpf.MappedMapped
		if err := binary.Read(r, binary.NativeEndian, &m); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		name = append(name[:0], make([]byte, m.Length)...)
		if _, err := io.ReadFull(r, name); err != nil {
			return err
		}
		if m.Pid == 0 {
			continue // of another process namespace
		}
		path, _, _ := bytes.Cut(name, []byte{0})
		do(Mapped{
			PID: int(m.Pid), Mounts: m.Mounts, Start: m.Start, End: m.End, File: m.File,
			Device: unix.Mkdev(m.Device>>20, m.Device&(1<<20-1)), Inode: m.Inode,
			FUSE: m.Magic == unix.FUSE_SUPER_MAGIC, Path: string(path),
		})
	}
}

// iterator starts the program for a process, or for all. The library cannot limit an
// iterator to one process, hence the raw system calls: union bpf_attr of
// linux/bpf.h for BPF_LINK_CREATE and BPF_ITER_CREATE.
func (l *Lister) iterator(pid int) (*os.File, error) {
	const traceIter = 28 // BPF_TRACE_ITER
	// union bpf_iter_link_info: tid, pid and pid_fd of a task.
	process := [3]uint32{1: uint32(pid)}
	create := struct {
		program, target, attach, flags uint32
		info                           unsafe.Pointer
		length, _                      uint32
	}{program: uint32(l.program.FD()), attach: traceIter, info: unsafe.Pointer(&process), length: uint32(unsafe.Sizeof(process))}
	link, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_LINK_CREATE, uintptr(unsafe.Pointer(&create)), unsafe.Sizeof(create))
	if errno != 0 {
		return nil, errno
	}
	defer unix.Close(int(link))
	open := struct{ link, flags uint32 }{link: uint32(link)}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_ITER_CREATE, uintptr(unsafe.Pointer(&open)), unsafe.Sizeof(open))
	if errno != 0 {
		return nil, errno
	}
	return os.NewFile(fd, "mappings"), nil
}
