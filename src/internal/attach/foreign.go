// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/boottime"
	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/discover"
	"crypto-auditing/src/internal/probe/mappings"
	"crypto-auditing/src/internal/wakeup"
)

const (
	// maxForeign bounds the number of open files of other mount namespaces.
	maxForeign = 256
	// maxUnreachable bounds the number of files that are reported as not recorded.
	maxUnreachable = 64
	// maxListed is the number of processes above which all are listed at once.
	maxListed = 32
)

// ErrNoOpener reports that nothing opens files of other mount namespaces.
var ErrNoOpener = errors.New("not recorded: it is in another mount namespace, and crypto-auditing-opener.socket is not active")

// Opener opens the file that a process has mapped as executable at these addresses.
type Opener interface {
	Open(pid int, start, end uint64) (*os.File, error)
	Close()
}

// Foreign finds files that processes have mapped as executable and that the caller cannot
// open by a path, because they are in another mount namespace, as in a container. An
// Opener opens them. A file is found as long as its mount namespace has a process or, in
// the namespace of process 1, as long as a process uses the file: an open file keeps its
// file system mounted.
//
// It is safe for use by several goroutines.
type Foreign struct {
	options ForeignOptions
	changed wakeup.Signal

	mu    sync.Mutex
	fresh []mappings.Mapping
	near  map[file]bool
	// since is the time of the oldest of fresh, in nanoseconds since boot.
	since uint64
	// all is set if all processes must be listed.
	all bool
	// files are the files that were examined.
	files map[fileKey]*foreign
	// watched are the processes whose end is awaited.
	watched map[int]*os.File
	// without is set if the opener could not be reached.
	without, closed bool
	// looking is held during a search. It is acquired before mu.
	looking sync.Mutex
}

// fileKey identifies a file for the kernel. The kernel may use the address again for
// another file.
type fileKey struct{ file, device, inode uint64 }

// foreign is a file that was examined.
type foreign struct {
	name   string
	mounts uint32
	since  uint64
	// open is nil unless the file is found; err is the reason why it cannot be. reported:
	// Find returns that.
	open     *os.File
	err      error
	reported bool
}

// ForeignOptions configure Foreign. All fields are needed.
type ForeignOptions struct {
	// List calls do for the executable mappings of a process, or of all if pid is 0.
	List func(pid int, do func(mappings.Mapped)) error
	// Connect returns an Opener.
	Connect func() (Opener, error)
	// Check returns an error if nothing can be captured in the file at a path.
	Check func(path string) error
	// Near is called for mappings of files that the caller can open.
	Near func(mappings.Mapping)
	// Usual reports whether a file with this base name is reported if there is no opener,
	// its process ended too early, or it cannot be captured.
	Usual func(name string) bool
	// Missed is called for such a file if its process ended before it was opened. since
	// is in nanoseconds since boot.
	Missed func(name string, since uint64)
	Log    *slog.Logger
}

// NewForeign returns a finder that examines all processes first.
func NewForeign(o ForeignOptions) *Foreign {
	f := &Foreign{
		options: o, changed: wakeup.New(), all: true, near: map[file]bool{},
		files: map[fileKey]*foreign{}, watched: map[int]*os.File{},
	}
	f.changed.Notify()
	return f
}

// Note adds a mapping of a process. It does not block.
func (f *Foreign) Note(m mappings.Mapping) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.near[fileOf(m)] || f.all {
		return
	}
	if len(f.fresh) == 0 {
		f.since = boottime.Now()
	}
	if len(f.fresh) >= maxKnown {
		f.fresh, f.all = nil, true
	} else {
		f.fresh = append(f.fresh, m)
	}
	f.changed.Notify()
}

// Without reports whether a file could not be opened because there was no opener.
func (f *Foreign) Without() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.without
}

// Retry examines all processes again.
func (f *Foreign) Retry() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = true
	f.changed.Notify()
}

// Changed is notified when Search may have something to do.
func (f *Foreign) Changed() <-chan struct{} { return f.changed }

// Close closes the files. The files must not be attached any more.
func (f *Foreign) Close() {
	f.looking.Lock()
	defer f.looking.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, known := range f.files {
		if known.open != nil {
			known.open.Close()
		}
	}
	clear(f.files)
	for _, process := range f.watched {
		process.Close()
	}
}

// Find implements discover.Finder. It returns what Search has found.
func (f *Foreign) Find() discover.Found {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := discover.Found{Optional: true, Foreign: map[string]discover.Foreign{}}
	for key, known := range f.files {
		switch {
		case known.open != nil:
			path := pathOf(known.open)
			found.Paths = append(found.Paths, path)
			found.Foreign[path] = discover.Foreign{Name: known.name, Device: key.device, Inode: key.inode, Since: known.since}
		case known.reported:
			found.Unreachable = append(found.Unreachable, discover.Unreachable{Name: known.name, Err: known.err})
		}
	}
	slices.SortFunc(found.Unreachable, func(a, b discover.Unreachable) int { return strings.Compare(a.Name, b.Name) })
	found.Unreachable = found.Unreachable[:min(len(found.Unreachable), maxUnreachable)]
	return found
}

// pathOf returns a path of an open file.
func pathOf(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// Search examines the processes that were noted or, first and after a watched one has
// ended, all. It reports whether Find returns other files now.
func (f *Foreign) Search() (changed bool) {
	f.looking.Lock()
	defer f.looking.Unlock()
	fresh, pids, all, since := f.take()
	if !all && len(pids) == 0 {
		return false
	}
	var list []mappings.Mapped
	add := func(m mappings.Mapped) { list = append(list, m) }
	if all {
		pids = []int{0}
	}
	for _, pid := range pids {
		if err := f.options.List(pid, add); err != nil {
			f.options.Log.Warn("files in other mount namespaces are not examined", "error", err)
			return false
		}
	}
	if all {
		changed = f.forget(list)
	}
	changed = f.examine(list, since) || changed
	f.reportMissed(fresh, since)
	f.await(list)
	return changed
}

// reportMissed reports the noted files of processes that ended too early to find them.
func (f *Foreign) reportMissed(fresh []mappings.Mapping, since uint64) {
	names := map[string]bool{}
	f.mu.Lock()
	for _, m := range fresh {
		if name := filepath.Base(m.Path); !f.near[fileOf(m)] && f.options.Usual(name) && !f.examined(name, m.Inode) {
			names[name] = true
		}
	}
	f.mu.Unlock()
	for name := range names {
		f.options.Missed(name, since)
	}
}

// examined reports whether a file was examined. The numbers of devices may be those of an
// overlay. The caller holds mu.
func (f *Foreign) examined(name string, inode uint64) bool {
	for key, known := range f.files {
		if key.inode == inode && (known.name == "" || filepath.Base(known.name) == name) {
			return true
		}
	}
	return false
}

// take returns the noted mappings and the processes to examine; all is set if all processes
// must be examined.
func (f *Foreign) take() (fresh []mappings.Mapping, pids []int, all bool, since uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, nil, false, 0
	}
	fresh, all, since, f.all, f.fresh = f.fresh, f.all, f.since, false, nil
	wanted := map[int]bool{}
	for _, m := range fresh {
		if isAt(m.Path, m.Device, m.Inode) {
			if len(f.near) >= maxKnown {
				clear(f.near)
			}
			f.near[fileOf(m)] = true
		} else {
			wanted[m.PID] = true
		}
	}
	return fresh, slices.Collect(maps.Keys(wanted)), all || len(wanted) > maxListed, since
}

// isAt reports whether the file with these numbers is at a path for the caller. A device
// of 0 is unknown.
func isAt(path string, device, inode uint64) bool {
	var s unix.Stat_t
	if unix.Stat(path, &s) != nil || s.Ino != inode {
		return false
	}
	if device == 0 || s.Dev == device {
		return true
	}
	// Their files have other device numbers in stat(2) than in the kernel's reports.
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && (fs.Type == unix.OVERLAYFS_SUPER_MAGIC || fs.Type == unix.BTRFS_SUPER_MAGIC)
}

// forget forgets files whose mount namespaces have ended and, if the opener was missing,
// those that it may open now. list has the mappings of all processes. It reports whether
// Find returns other files now.
func (f *Foreign) forget(list []mappings.Mapped) (changed bool) {
	first := firstMounts(list)
	alive, used := map[uint32]bool{}, map[fileKey]bool{}
	for i := range list {
		m := &list[i]
		alive[m.Mounts] = true
		used[keyOf(m)] = true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.without = false
	for key, known := range f.files {
		switch {
		case known.open == nil:
			if known.err != nil || !used[key] {
				changed = changed || known.reported
				delete(f.files, key)
			}
		case known.mounts == first && !used[key], !alive[known.mounts]:
			known.open.Close()
			delete(f.files, key)
			changed = true
		}
	}
	return changed
}

// firstMounts returns the mount namespace of process 1, 0 if it is not in the list.
func firstMounts(list []mappings.Mapped) uint32 {
	for i := range list {
		if list[i].PID == 1 {
			return list[i].Mounts
		}
	}
	return 0
}

func keyOf(m *mappings.Mapped) fileKey { return fileKey{m.File, m.Device, m.Inode} }

// examine opens the files that are not known yet. It reports whether Find returns other
// files now.
func (f *Foreign) examine(list []mappings.Mapped, since uint64) (changed bool) {
	var opener Opener
	var missing error
	defer func() {
		if opener != nil {
			opener.Close()
		}
	}()
	for i := range list {
		m := &list[i]
		if f.known(m) {
			continue
		}
		if isAt(m.Path, m.Device, m.Inode) {
			f.options.Near(mappings.Mapping{PID: m.PID, Path: m.Path, Device: m.Device, Inode: m.Inode})
			f.add(m, &foreign{})
			continue
		}
		known := &foreign{name: fmt.Sprintf("mnt:[%d]%s", m.Mounts, m.Path), mounts: m.Mounts, since: since}
		if m.FUSE {
			known.err = errFUSE
			f.add(m, known)
			changed = changed || known.reported
			continue
		}
		if opener == nil && missing == nil {
			if opener, missing = f.options.Connect(); missing != nil {
				opener = nil
				f.noteMissing(missing)
			}
		}
		if missing != nil {
			known.err = ErrNoOpener
		} else if err := f.open(opener, m, known); err != nil {
			f.options.Log.Warn("a file in another mount namespace cannot be opened", "file", known.name, "error", err)
			opener.Close()
			opener = nil
		}
		if !errors.Is(known.err, errEnded) {
			f.add(m, known)
			changed = changed || known.open != nil || known.reported
		}
	}
	return changed
}

func (f *Foreign) known(m *mappings.Mapped) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.files[keyOf(m)] != nil
}

// add adds an examined file.
func (f *Foreign) add(m *mappings.Mapped, known *foreign) {
	known.reported = known.reported || known.err != nil && f.options.Usual(filepath.Base(m.Path))
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.files) >= maxKnown {
		maps.DeleteFunc(f.files, func(_ fileKey, k *foreign) bool { return k.open == nil })
	}
	f.files[keyOf(m)] = known
}

// noteMissing logs that the opener cannot be reached, once until it was.
func (f *Foreign) noteMissing(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.without {
		f.options.Log.Info("files in other mount namespaces cannot be opened", "error", err)
	}
	f.without = true
}

// errEnded reports that a process ended, or unmapped a file, before it was opened.
var errEnded = errors.New("not recorded: the process ended before it was opened")

// errFUSE is the reason why files on FUSE are not opened. The opener does not detect FUSE in
// a layer of an overlay.
var errFUSE = errors.New("not recorded: it is on a FUSE file system, whose program could let its readers wait forever")

// open opens and checks a file. It sets open or err of known, or none of them if nothing
// can be captured. The error reports that the opener is unusable.
func (f *Foreign) open(opener Opener, m *mappings.Mapped, known *foreign) error {
	file, err := opener.Open(m.PID, m.Start, m.End)
	var answer unix.Errno
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENOENT):
		known.err = errEnded
		return nil
	case errors.As(err, &answer):
		known.err, known.reported = fmt.Errorf("not recorded: %w", err), true
		return nil
	case err != nil:
		known.err = fmt.Errorf("not recorded: %w", err)
		return err
	}
	var none *capture.NoSitesError
	switch err := f.options.Check(pathOf(file)); {
	case errors.As(err, &none):
	case err != nil:
		known.err = fmt.Errorf("not recorded: %w", err)
	case !f.holds(m):
		known.err = errEnded
	case f.opened() >= maxForeign:
		known.err = fmt.Errorf("not recorded: already %d files of other mount namespaces are", maxForeign)
	default:
		known.open = file
		return nil
	}
	file.Close()
	return nil
}

// holds reports whether a process has the mapping now.
func (f *Foreign) holds(m *mappings.Mapped) (same bool) {
	// If it cannot be listed, it is not the same.
	_ = f.options.List(m.PID, func(now mappings.Mapped) {
		same = same || now.Start == m.Start && now.End == m.End && keyOf(&now) == keyOf(m)
	})
	return same
}

// opened returns the number of open files.
func (f *Foreign) opened() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, known := range f.files {
		if known.open != nil {
			n++
		}
	}
	return n
}

// await awaits the end of a process in each mount namespace with open files: of the first
// one, which usually lasts as long as the namespace.
func (f *Foreign) await(list []mappings.Mapped) {
	slices.SortFunc(list, func(a, b mappings.Mapped) int { return a.PID - b.PID })
	first := firstMounts(list)
	f.mu.Lock()
	defer f.mu.Unlock()
	chosen := map[uint32]bool{}
	for i := range list {
		m := &list[i]
		known := f.files[keyOf(m)]
		switch {
		case m.Mounts == first:
			if known == nil || known.open == nil || known.mounts != first {
				continue
			}
		case chosen[m.Mounts] || !f.opensIn(m.Mounts):
			continue
		}
		chosen[m.Mounts] = true
		f.watch(m.PID)
	}
}

// opensIn reports whether a file of a mount namespace is open. The caller holds mu.
func (f *Foreign) opensIn(mounts uint32) bool {
	for _, known := range f.files {
		if known.open != nil && known.mounts == mounts {
			return true
		}
	}
	return false
}

// watch makes Search examine all processes when a process ends. The caller holds mu.
func (f *Foreign) watch(pid int) {
	if f.watched[pid] != nil || len(f.watched) >= maxForeign {
		return
	}
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		f.all = true
		f.changed.Notify()
		return
	} else if err != nil {
		f.options.Log.Warn("a mount namespace may not end before the agent", "error", err)
		return
	}
	process := os.NewFile(uintptr(fd), "process")
	f.watched[pid] = process
	go func() {
		// The descriptor is readable when the process has ended (pidfd_open(2)).
		if conn, err := process.SyscallConn(); err == nil {
			_ = conn.Read(func(fd uintptr) bool {
				n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
				return n > 0 && err == nil
			})
		}
		process.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watched, pid)
		f.all = true
		f.changed.Notify()
	}()
}
