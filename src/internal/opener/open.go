// SPDX-License-Identifier: Apache-2.0

package opener

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxMaps bounds how much of a process's list of mappings is read, in bytes.
const maxMaps = 16 << 20

// open opens the file of a mapping for reading. The file is a regular ELF file that the
// process has mapped as executable at these addresses. ESRCH and ENOENT report that the
// process or the mapping does not exist, ESTALE that the file is not at its path.
//
// It needs CAP_SYS_PTRACE. /proc/PID/map_files would lead to the file without a path, but
// needs CAP_CHECKPOINT_RESTORE and CAP_DAC_READ_SEARCH as well (proc_pid_map_files(5)).
// The path comes from the kernel, and what is there counts only if it is the mapped file.
func open(r request) (*os.File, error) {
	// The directory belongs to this process, even if its id is used again.
	process, err := unix.Open(fmt.Sprintf("/proc/%d", r.pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, unix.ESRCH
	}
	defer unix.Close(process)
	before, err := lookUp(process, r)
	if err != nil {
		return nil, err
	}
	// Opening a device or a FIFO may have an effect, so what it is comes first.
	path, err := walk(process, before.path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(path)
	if err := before.suits(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", path), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	magic := make([]byte, 4)
	if _, err := f.ReadAt(magic, 0); err != nil || string(magic) != "\x7fELF" {
		f.Close()
		return nil, unix.ENOEXEC
	}
	// The process may have mapped another file there in the meantime.
	if after, err := lookUp(process, r); err != nil || after != before {
		f.Close()
		return nil, unix.ENOENT
	}
	return f, nil
}

// walk opens the file at a path as an O_PATH descriptor. The path is that from the root
// of the mount namespace; the walk begins at the root of the process.
func walk(process int, path string) (int, error) {
	root, err := unix.Openat(process, "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	// The process may have another root directory than its mount namespace.
	name := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(process, "root", name)
	path, below := strings.CutPrefix(path, strings.TrimSuffix(string(name[:max(n, 0)]), "/")+"/")
	if err == nil && !below {
		err = unix.ESTALE
	}
	if err != nil {
		unix.Close(root)
		return -1, err
	}
	return descend(root, path)
}

// descend opens the file at a path below a directory, which it closes. It follows no
// links. openat2(2) would do the same, but RestrictSUIDSGID= of systemd disables it.
func descend(directory int, path string) (int, error) {
	for path != "" {
		name, rest, more := strings.Cut(path, "/")
		flags := unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
		if more {
			flags |= unix.O_DIRECTORY
		}
		if name == ".." {
			unix.Close(directory)
			return -1, unix.ESTALE
		}
		next, err := unix.Openat(directory, name, flags, 0)
		unix.Close(directory)
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
			return -1, unix.ESTALE
		case err != nil:
			return -1, err
		}
		directory, path = next, rest
	}
	return directory, nil
}

// mapping is an executable mapping of a file, with the numbers of the file.
type mapping struct {
	offset        string
	device, inode uint64
	path          string
}

// suits reports why a file is not the mapped one, or must not be opened.
func (m mapping) suits(path int) error {
	var s unix.Stat_t
	if err := unix.Fstat(path, &s); err != nil {
		return err
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(path, &fs); err != nil {
		return err
	}
	// These show programs other numbers of devices than the kernel lists.
	otherDevices := fs.Type == unix.OVERLAYFS_SUPER_MAGIC || fs.Type == unix.BTRFS_SUPER_MAGIC
	switch {
	case s.Mode&unix.S_IFMT != unix.S_IFREG:
		return unix.EINVAL
	case s.Ino != m.inode, s.Dev != m.device && !otherDevices:
		return unix.ESTALE
	case fs.Type == unix.FUSE_SUPER_MAGIC:
		// The program of such a file system could let its readers wait forever.
		return unix.EOPNOTSUPP
	}
	return nil
}

// lookUp returns the executable mapping from the process's list (proc_pid_maps(5)).
func lookUp(process int, r request) (mapping, error) {
	fd, err := unix.Openat(process, "maps", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return mapping{}, err
	}
	maps := os.NewFile(uintptr(fd), "maps")
	defer maps.Close()
	return find(io.LimitReader(maps, maxMaps), r)
}

// find finds the executable mapping of a file in a list of mappings.
func find(maps io.Reader, r request) (mapping, error) {
	want := fmt.Sprintf("%08x-%08x ", r.start, r.end)
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		line, found := strings.CutPrefix(lines.Text(), want)
		if !found {
			continue
		}
		return parseMapping(line)
	}
	if err := lines.Err(); err != nil {
		return mapping{}, err
	}
	return mapping{}, unix.ENOENT
}

// parseMapping parses what follows the addresses: permissions, offset, device, inode and
// path.
func parseMapping(line string) (m mapping, err error) {
	slash := strings.IndexByte(line, '/')
	if slash < 0 {
		return m, unix.ENOENT // no file
	}
	fields := strings.Fields(line[:slash])
	if len(fields) != 4 {
		return m, unix.ENOENT
	}
	if !strings.Contains(fields[0], "x") {
		return m, unix.EACCES
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(fields[2], "%x:%x", &major, &minor); err != nil {
		return m, unix.ENOENT
	}
	m = mapping{offset: fields[1], device: unix.Mkdev(major, minor), path: line[slash:]}
	if m.inode, err = strconv.ParseUint(fields[3], 10, 64); err != nil {
		return mapping{}, unix.ENOENT
	}
	return m, nil
}
