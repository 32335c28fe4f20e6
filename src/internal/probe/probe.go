// SPDX-License-Identifier: Apache-2.0

// Package probe is the interface to the kernel: it loads the BPF programs, attaches
// them to the probes of libraries, and reads the hits from their ring.
//
// A Tracer owns programs and maps. Any goroutine may attach and detach; a single
// goroutine reads the ring with its method Drain and Tracer.Decode.
package probe

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"crypto-auditing/bpf"
	"crypto-auditing/src/internal/probe/emulation"
	"crypto-auditing/src/internal/probe/ring"
)

// Profile is a method of attachment.
type Profile string

// The profiles.
const (
	// UprobeMulti attaches all sites of a library at once and needs only CAP_BPF and
	// CAP_PERFMON (kernel 6.6 and newer).
	UprobeMulti Profile = "uprobe_multi"
	// PerfEvent attaches each site separately and needs CAP_SYS_ADMIN.
	PerfEvent Profile = "perf_event"
)

// oldKernelDropIn gives the service the privileges for PerfEvent when installed in
// dropIns.
const (
	oldKernelDropIn = "/usr/share/crypto-auditing/perf-event.conf"
	dropIns         = "/etc/systemd/system/crypto-auditing-agent.service.d"
)

// DefaultRingSize is sufficient for 100 ms of 400,000 hits per second, in bytes.
const DefaultRingSize = 8 << 20

// controlMap is the name of the map of the control block (ring.bpf.h), its section.
const controlMap = ".data.control"

// maxSites bounds the sites attached at a time: a hundred libraries with far more sites
// than any has today. Their map takes 80 bytes per site.
const maxSites = 8192

// maxFollowed bounds the processes followed at a time.
const maxFollowed = 1 << 16

// Options configure a Tracer. The zero value is usable.
type Options struct {
	// RingSize is the size of the ring in bytes, a power of two of at least a page;
	// zero for DefaultRingSize.
	RingSize int
	// Profile is the method of attachment; empty for the best that the kernel has.
	Profile Profile
	// RateLimit bounds the hits per second of one process; 0 disables the limit. See
	// SetRateLimit.
	RateLimit uint64
	// Followed restricts recording to followed processes. Package tree follows
	// processes.
	Followed bool
}

// Tracer holds the loaded programs and their maps.
type Tracer struct {
	collection *ebpf.Collection
	program    *ebpf.Program // attached to all probes
	// functions is nil unless LoadFunctions was called.
	functions *functions
	profile   Profile
	// replacesFive and breaksShadowStacks are what this kernel does to instructions under a
	// probe, see errFiveByteNop and errShadowStack.
	replacesFive, breaksShadowStacks bool
	control                          []byte // the mapped control block
	followed                         bool
	ring                             *ring.Ring

	// preparing is held while a file is read.
	preparing sync.Mutex

	// table maps the site index in a record to a library. It is replaced as a whole, so
	// that the reader needs no lock.
	table atomic.Pointer[[]*Library]

	// mu guards free, detached, libraries and the replacement of table.
	mu   sync.Mutex
	free []uint32
	// detached are libraries whose last records may still be in the ring.
	detached  []detached
	libraries map[*Library]struct{}
}

// detached is a library that creates no more records: all its records end before
// position in the ring.
type detached struct {
	library  *Library
	position uint64
}

// Load loads the programs. It needs CAP_BPF and CAP_PERFMON, and Linux 6.1 or newer
// with BTF.
func Load(o Options) (*Tracer, error) {
	if o.RingSize == 0 {
		o.RingSize = DefaultRingSize
	}
	if page := unix.Getpagesize(); o.RingSize < page || o.RingSize&(o.RingSize-1) != 0 {
		return nil, fmt.Errorf("cannot use a ring of %d bytes: its size must be a power of two of at least %d", o.RingSize, page)
	}
	if o.Profile == "" {
		o.Profile = UprobeMulti
		if features.HaveBPFLinkUprobeMulti() != nil {
			o.Profile = PerfEvent
		}
	}
	spec, err := bpf.LoadAudit()
	if err != nil {
		return nil, fmt.Errorf("cannot read the BPF programs: %w", err)
	}
	spec.Maps[bpf.AuditMapRing].MaxEntries = uint32(o.RingSize)
	spec.Maps[bpf.AuditMapSites].MaxEntries = maxSites
	if o.Profile == PerfEvent {
		spec.Programs[bpf.AuditProgProbe].AttachType = ebpf.AttachNone
	}
	if o.Followed {
		spec.Maps[bpf.AuditMapFollowed].MaxEntries = maxFollowed
		if err := spec.Variables[bpf.AuditVarOnlyFollowed].Set(uint8(1)); err != nil {
			return nil, fmt.Errorf("cannot set up the BPF programs: %w", err)
		}
	}
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("cannot load the BPF programs: %w", explain(err, ""))
	}
	t := &Tracer{
		collection:   collection,
		program:      collection.Programs[bpf.AuditProgProbe],
		profile:      o.Profile,
		followed:     o.Followed,
		libraries:    map[*Library]struct{}{},
		replacesFive: emulation.ReplacesFiveByteNops(),

		breaksShadowStacks: emulation.BreaksShadowStacks(),
	}
	t.table.Store(&[]*Library{})
	if err := t.mapControl(spec); err != nil {
		t.Close()
		return nil, err
	}
	t.SetRateLimit(o.RateLimit)
	t.shareRing(o.RingSize)
	if _, err := collection.Programs[bpf.AuditProgWhoami].Run(&ebpf.RunOptions{}); err != nil {
		t.Close()
		return nil, fmt.Errorf("cannot pass the process id of the agent to the BPF programs: %w", err)
	}
	if t.ring, err = ring.New(collection.Maps[bpf.AuditMapRing], o.RingSize, t.controlWord(unsafe.Offsetof(bpf.AuditControlBlock{}.WakeAt))); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// explain adds a remedy to an error that the user can fix. profile is the method of the
// failed attachment, empty for other operations.
func explain(err error, profile Profile) error {
	denied := errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
	if denied && profile == PerfEvent {
		return fmt.Errorf("%w (kernels before 6.6 demand CAP_SYS_ADMIN for it: run as root, or install %s in %s and restart the service)",
			err, oldKernelDropIn, dropIns)
	}
	if denied {
		return fmt.Errorf("%w (run as root or give the process CAP_BPF and CAP_PERFMON)", err)
	}
	if errors.Is(err, ebpf.ErrNotSupported) {
		return fmt.Errorf("%w (Linux 6.1 or newer with BPF and BTF is needed)", err)
	}
	return err
}

// mapControl maps the control block that the programs and the reader share.
func (t *Tracer) mapControl(spec *ebpf.CollectionSpec) error {
	variable := spec.Variables[bpf.AuditVarControl]
	m := t.collection.Maps[controlMap]
	size := (int(m.ValueSize()) + unix.Getpagesize() - 1) &^ (unix.Getpagesize() - 1)
	b, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("cannot map the control block: %w", err)
	}
	t.control = b[variable.Offset:]
	return nil
}

// controlWord returns a word of the control block. The programs use it concurrently, so
// all accesses must be atomic.
func (t *Tracer) controlWord(offset uintptr) *atomic.Uint64 {
	// The mapping is page-aligned, lives as long as the tracer and is not Go memory;
	// the block is aligned as C aligns it.
	return (*atomic.Uint64)(unsafe.Pointer(&t.control[offset]))
}

// Profile returns the method of attachment.
func (t *Tracer) Profile() Profile { return t.profile }

// Ring returns the ring, for use by the one goroutine that reads it.
func (t *Tracer) Ring() *ring.Ring { return t.ring }

// Close detaches all libraries and frees the programs.
func (t *Tracer) Close() error {
	t.DetachAll()
	var err error
	t.mu.Lock()
	for _, d := range t.detached {
		d.library.open.Close()
	}
	t.detached = nil
	t.mu.Unlock()
	if t.ring != nil {
		err = t.ring.Close()
	}
	t.functions.close()
	t.collection.Close()
	return err
}

// Detach detaches a library. It waits for the kernel, some ten milliseconds. Records of
// the library can still be decoded.
func (t *Tracer) Detach(l *Library) {
	t.remove(l)
	l.unlease()
}

// remove detaches a library and keeps its file, with the lease, for its remaining
// records.
func (t *Tracer) remove(l *Library) {
	l.detach()
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.libraries[l]; !ok {
		return
	}
	delete(t.libraries, l)
	if len(l.slots) == 0 {
		// It was never attached.
		l.open.Close()
		return
	}
	t.detached = append(t.detached, detached{l, t.ring.Written()})
}

// DetachAll detaches all libraries. No new record appears after it; records in the ring
// can still be read and decoded.
func (t *Tracer) DetachAll() {
	t.mu.Lock()
	all := slices.Collect(maps.Keys(t.libraries))
	t.mu.Unlock()
	var wait sync.WaitGroup
	for _, l := range all {
		wait.Go(func() { t.Detach(l) })
	}
	wait.Wait()
}

// reclaim frees the slots and files of detached libraries whose records were all taken.
// The caller holds mu.
func (t *Tracer) reclaim() {
	taken := t.ring.Taken()
	t.detached = slices.DeleteFunc(t.detached, func(d detached) bool {
		if d.position > taken {
			return false
		}
		t.free = append(t.free, d.library.slots...)
		t.functions.release(d.library)
		d.library.open.Close()
		return true
	})
}

// SetRateLimit bounds the hits per second that are recorded of one process, and, at four
// times the number, of one user; 0 disables the limits. A hit whose record takes more
// than 192 bytes counts as several. It may be called from any goroutine at any time.
func (t *Tracer) SetRateLimit(perSecond uint64) {
	const record = 192 // RATE_RECORD
	t.controlWord(unsafe.Offsetof(bpf.AuditControlBlock{}.RateLimit)).Store(perPeriod(perSecond) * record)
}

// SetConnectionLimit bounds the connections per second of one process that the programs
// at sockets examine; 0 disables the limit. It may be called from any goroutine at any
// time.
func (t *Tracer) SetConnectionLimit(perSecond uint64) {
	t.controlWord(unsafe.Offsetof(bpf.AuditControlBlock{}.ConnectionLimit)).Store(perPeriod(perSecond))
}

// perPeriod converts a limit to that of the programs, which count per RATE_PERIOD.
func perPeriod(perSecond uint64) uint64 {
	const period = 250 * time.Millisecond
	if perSecond == 0 {
		return 0
	}
	return max(perSecond/uint64(time.Second/period), 1)
}

// Followed reports whether only followed processes are recorded. Objects of other
// sources must be configured accordingly.
func (t *Tracer) Followed() bool { return t.followed }

// SharedMaps returns the maps that objects of other sources must use instead of their
// own to write to the same ring under the same limits. The tracer owns them.
func (t *Tracer) SharedMaps() map[string]*ebpf.Map {
	shared := map[string]*ebpf.Map{}
	for _, name := range []string{bpf.AuditMapRing, bpf.AuditMapProcesses, bpf.AuditMapUsers, bpf.AuditMapFollowed, controlMap} {
		shared[name] = t.collection.Maps[name]
	}
	return shared
}

// shareRing reserves parts of the ring for processes and users that need little of it,
// so that no process or user that floods the ring causes losses of others.
func (t *Tracer) shareRing(size int) {
	bytes := uint64(size)
	// At a 32nd of the ring per period of 250 ms, hundreds of users can be light at a
	// time while the reader keeps up with a flood.
	t.controlWord(unsafe.Offsetof(bpf.AuditControlBlock{}.LightBytes)).Store(bytes / 32)
	t.controlWord(unsafe.Offsetof(bpf.AuditControlBlock{}.CrowdedBytes)).Store(bytes / 4 * 3)
	t.controlWord(unsafe.Offsetof(bpf.AuditControlBlock{}.SharedBytes)).Store(bytes / 8 * 7)
	t.controlWord(unsafe.Offsetof(bpf.AuditControlBlock{}.Seed)).Store(rand.Uint64())
}
