// SPDX-License-Identifier: Apache-2.0

package opener

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxMaps bounds how much of a process's list of mappings, or of mounts, is read, in
// bytes.
const maxMaps = 16 << 20

// open opens the file of a mapping for reading. The file is a regular ELF file that the
// process has mapped as executable at these addresses. ESRCH and ENOENT report that the
// process or the mapping does not exist, ESTALE that the file is not at its path.
//
// It needs CAP_SYS_PTRACE. /proc/PID/map_files would lead to the file without a path, but
// needs CAP_CHECKPOINT_RESTORE and CAP_DAC_READ_SEARCH as well (proc_pid_map_files(5)).
// The path comes from the kernel, and its file is used only if it is the mapped one.
// No program of a file system (FUSE) is asked on the way: it might never answer, and the
// opener could not be ended.
func open(r request) (*os.File, error) {
	// The directory belongs to this process, even if its id is reused.
	process, err := unix.Open(fmt.Sprintf("/proc/%d", r.pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, unix.ESRCH
	}
	defer unix.Close(process)
	before, err := lookUp(process, r)
	if err != nil {
		return nil, err
	}
	// Opening a device or a FIFO may have side effects, so the type is checked first.
	path, err := walk(process, before.path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(path)
	if err := before.suits(path, func(mount uint64) (string, error) { return fileSystem(process, mount) }); err != nil {
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
	defer unix.Close(root)
	// The process may have another root directory than its mount namespace.
	name := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(process, "root", name)
	path, below := strings.CutPrefix(path, strings.TrimSuffix(string(name[:max(n, 0)]), "/")+"/")
	if err == nil && !below {
		err = unix.ESTALE
	}
	if err != nil {
		return -1, err
	}
	return reach(root, path)
}

// resolveCached is RESOLVE_CACHED of openat2(2), since Linux 5.12: the call fails with EAGAIN
// instead of asking a file system.
const resolveCached = 0x20

// attempts is how often a path is looked up while others change directories, which may
// look as if a file system had to be asked.
const attempts = 10

// reach opens the file at a path below a directory as an O_PATH descriptor. It follows no
// links and asks no file system: a mapping keeps its file and the directories that lead to
// it in the kernel's cache. If they are not there, or a file system wants to be asked
// whether they still are, as those of FUSE and overlays of them do, the error is ESTALE.
func reach(directory int, path string) (fd int, err error) {
	if slices.Contains(strings.Split(path, "/"), "..") {
		return -1, unix.ESTALE
	}
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | resolveCached,
	}
	for range attempts {
		fd, err = unix.Openat2(directory, path, &how)
		if !errors.Is(err, unix.EAGAIN) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return -1, unix.ESTALE
	case err != nil:
		return -1, err
	}
	return fd, nil
}

// mapping is an executable mapping of a file, with the numbers of the file.
type mapping struct {
	offset        string
	device, inode uint64
	path          string
}

// suits reports why a file is not the mapped one, or must not be opened. fileSystem returns
// the type of the file system of a mount.
func (m *mapping) suits(path int, fileSystem func(mount uint64) (string, error)) error {
	// Use the attributes that the kernel has cached: the file system must not be asked.
	var s unix.Statx_t
	const flags, mask = unix.AT_EMPTY_PATH | unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE | unix.STATX_INO | unix.STATX_MNT_ID
	if err := unix.Statx(path, "", flags, mask, &s); err != nil {
		return err
	}
	if s.Mode&unix.S_IFMT != unix.S_IFREG {
		return unix.EINVAL
	}
	if s.Mask&mask != mask {
		return unix.EOPNOTSUPP
	}
	kind, err := fileSystem(s.Mnt_id)
	if err != nil {
		return err
	}
	// Their files have other device numbers in stat(2) than in the kernel's list.
	otherDevices := kind == "overlay" || kind == "btrfs"
	switch {
	case isFUSE(kind):
		// The program of such a file system could let its readers wait forever.
		return unix.EOPNOTSUPP
	case s.Ino != m.inode, unix.Mkdev(s.Dev_major, s.Dev_minor) != m.device && !otherDevices:
		return unix.ESTALE
	}
	return nil
}

// isFUSE reports whether a program, or another machine, may be the file system.
func isFUSE(kind string) bool {
	return kind == "fuse" || kind == "fuseblk" || strings.HasPrefix(kind, "fuse.") || kind == "virtiofs"
}

// fileSystem returns the type of the file system of a mount. The error is ESTALE if the
// process cannot reach it from its root directory.
func fileSystem(process int, mount uint64) (string, error) {
	fd, err := unix.Openat(process, "mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	mounts := os.NewFile(uintptr(fd), "mountinfo")
	defer mounts.Close()
	return findMount(io.LimitReader(mounts, maxMaps), mount)
}

// findMount finds the type of the file system of a mount in a list (proc_pid_mountinfo(5)).
func findMount(mounts io.Reader, mount uint64) (kind string, err error) {
	want := strconv.FormatUint(mount, 10)
	lines := bufio.NewScanner(mounts)
	lines.Buffer(nil, maxMaps) // overlays have long options
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 || fields[0] != want {
			continue
		}
		// Six fields and optional ones come before it. Names have no spaces here.
		if i := slices.Index(fields[6:], "-"); i >= 0 && 6+i+1 < len(fields) {
			return fields[6+i+1], nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", unix.ESTALE
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
