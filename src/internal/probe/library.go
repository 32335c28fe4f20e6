// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"crypto-auditing/bpf"
	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/probe/emulation"
)

// Limits of strings completed from a library file: those of a record, and the number of
// cached strings, since a hostile process can request any address in the library.
const (
	maxKey     = 127
	maxString  = 511
	maxBlob    = 512
	maxStrings = 4096
)

// Library is a file whose sites are attached.
type Library struct {
	// Path is the path by which it was attached, BuildID its build-id.
	Path    string
	BuildID []byte
	// Source is the name of the source of the sites.
	Source string
	// Sites is the number of attached sites, Probes the names of their probes, Provider
	// the name of the provider.
	Sites    int
	Probes   []string
	Provider string
	// Errors describes sites that could not be used.
	Errors []error
	// LeaseError is the reason for having no lease on the file; nil with a lease.
	// Without a lease the caller must poll Changing.
	LeaseError error
	// Device and Inode identify the file, independently of its path.
	Device, Inode uint64
	// Hits is a counter for use by the reader of the ring.
	Hits atomic.Uint64

	image capture.Image
	open  *os.File
	// version is the version of the file that was read.
	version version
	slots   []uint32
	// layout is the number of the layout of a library with calls.
	layout *uint32

	detaching sync.Mutex // guards links once they are created
	links     []link.Link

	// recent caches recently used strings, by address.
	recent [256]literal
	// strings caches the strings that were read from the file, through pages. Only the
	// reader of the ring uses these.
	pages   pages
	strings map[stringKey][]byte
}

// literal is a string terminated by a NUL, with its address.
type literal struct {
	address uint64
	text    []byte
}

type stringKey struct {
	address uint64
	size    int
}

// DeniedError reports that the process may not attach probes on this kernel, which
// applies to every library.
type DeniedError struct{ Err error }

func (e *DeniedError) Error() string { return e.Err.Error() }

func (e *DeniedError) Unwrap() error { return e.Err }

// errFiveByteNop reports that this kernel must not attach to the site. Linux 6.18 to 7.1
// replace a five-byte no-op by a call, which a forked child inherits without the target
// of the call, so that it crashes.
var errFiveByteNop = errors.New("a probe on its five-byte no-operation makes forked processes crash on this kernel: build the library with one-byte no-operations, or use a kernel newer than 7.1")

// errShadowStack reports that this kernel must not attach to the site. Linux before 6.18
// emulates a call without pushing the return address on the shadow stack, and a return of
// arm64 without taking it from there, and then ends a program that has one when the next
// function returns.
var errShadowStack = errors.New("a probe on its call or return ends programs with a shadow stack (CET, GCS) on this kernel: use Linux 6.18 or newer")

// Attach attaches to all sites of the file as planned by the first of sources that has
// any. The file that was read is the one attached, even if path meanwhile leads to
// another. The error wraps a *capture.NoSitesError if there are no sites, ErrChanging if
// the file is open for writing.
func (t *Tracer) Attach(path string, sources []capture.Source) (*Library, error) {
	return t.AttachAs(path, path, sources)
}

// AttachAs attaches to the file at path like Attach. Library.Path and errors have name
// instead of path.
func (t *Tracer) AttachAs(path, name string, sources []capture.Source) (*Library, error) {
	l, p, err := t.prepare(path, name, sources)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.libraries[l] = struct{}{}
	t.mu.Unlock()
	if err := t.attach(l, p); err != nil {
		// The sites attached before the failure may have created records.
		t.Detach(l)
		return nil, err
	}
	// Without a lease, the file may have changed since it was read.
	if l.Changing() {
		t.Yield(l)
		return nil, fmt.Errorf("cannot attach to %s: %w", name, ErrChanging)
	}
	return l, nil
}

// prepare reads a file and returns what attaching needs. It reads one file at a time:
// hostile files may take tens of megabytes.
func (t *Tracer) prepare(path, name string, sources []capture.Source) (*Library, *attachments, error) {
	t.preparing.Lock()
	defer t.preparing.Unlock()
	f, stat, err := open(path)
	if err != nil {
		return nil, nil, err
	}
	l := &Library{Path: name, Device: stat.Dev, Inode: stat.Ino, open: f, strings: map[stringKey][]byte{}}
	l.pages.file = f
	p, err := t.read(l, sources)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("cannot attach to %s: %w", name, err)
	}
	return l, p, nil
}

// Check reports whether a source plans a site in the file at path, without attaching.
// It returns the errors of Attach.
func Check(path string, sources []capture.Source) error {
	f, stat, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, err = plan(f, stat.Size, sources); err != nil {
		return fmt.Errorf("cannot attach to %s: %w", path, err)
	}
	return nil
}

// open opens the regular file at path.
func open(path string) (f *os.File, stat unix.Stat_t, err error) {
	// O_NONBLOCK: opening a FIFO must not wait for a writer.
	f, err = os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, stat, fmt.Errorf("cannot attach: %w", err)
	}
	err = unix.Fstat(int(f.Fd()), &stat)
	if err == nil && stat.Mode&unix.S_IFMT != unix.S_IFREG {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, stat, fmt.Errorf("cannot attach to %s: %w", path, err)
	}
	return f, stat, nil
}

// plan returns the plan of the first source that has one, and the source's name.
func plan(f *os.File, size int64, sources []capture.Source) (p *capture.Plan, source string, err error) {
	for _, s := range sources {
		p, err = s.Plan(f, size)
		var none *capture.NoSitesError
		if errors.As(err, &none) {
			continue
		}
		if err == nil && p.Machine != emulation.Machine() {
			return nil, "", foreign(p.Machine)
		}
		return p, s.Name, err
	}
	return nil, "", err
}

// foreign returns the error for a file of another architecture. Only an emulator reads its
// code, which must not contain the kernel's breakpoints.
func foreign(m elf.Machine) error {
	return &capture.NoSitesError{
		Want:   "code for this machine",
		Errors: []error{&capture.LimitError{Text: fmt.Sprintf("its code is for %s", m)}},
	}
}

// read plans a file, under a lease.
func (t *Tracer) read(l *Library, sources []capture.Source) (*attachments, error) {
	err := l.lease()
	if err != nil {
		return nil, err
	}
	if l.version, err = versionOf(l.open); err != nil {
		return nil, err
	}
	l.pages.changed = l.changed
	p, source, err := plan(l.open, l.version.size, sources)
	if err != nil {
		return nil, err
	}
	l.Source, l.BuildID, l.image = source, p.BuildID, p.Image
	return t.arrange(l, p)
}

// detach closes the attachments. It may be called concurrently.
func (l *Library) detach() {
	l.detaching.Lock()
	defer l.detaching.Unlock()
	var wait sync.WaitGroup
	for _, k := range l.links {
		// Close waits for the kernel; it fails only if it was called before.
		wait.Go(func() { _ = k.Close() })
	}
	wait.Wait()
	l.links = nil
}

// attachments is a plan in the kernel's form. The slices have one element per site.
type attachments struct {
	sites               []bpf.AuditSite
	offsets, semaphores []uint64
	// calls replaces sites in a plan with calls, otherwise it is nil.
	calls *calls
}

// arrange converts a plan to the kernel's form.
func (t *Tracer) arrange(l *Library, p *capture.Plan) (*attachments, error) {
	if p.Calls != nil {
		return t.arrangeCalls(l, p)
	}
	a := &attachments{}
	base := bpf.AuditSite{}
	base.Constants, base.ConstantsSize = p.Image.Constants()
	probes := map[string]bool{}
	for i := range p.Sites {
		s := &p.Sites[i]
		site, err := t.site(p, s, base)
		if err != nil {
			p.AddError(fmt.Errorf("%s:%s at %#x: %w", s.Provider, s.Probe, s.Address, err))
			continue
		}
		probes[s.Probe] = true
		l.Provider = s.Provider
		a.offsets = append(a.offsets, s.Offset)
		a.semaphores = append(a.semaphores, s.SemaphoreOffset)
		a.sites = append(a.sites, site)
		if len(a.sites) > maxSites {
			return nil, errTooManySites
		}
	}
	return a, arranged(l, p, a, probes)
}

// arranged stores the result of arranging a plan in the library.
func arranged(l *Library, p *capture.Plan, a *attachments, probes map[string]bool) error {
	l.Errors = p.Errors
	if len(a.offsets) == 0 {
		return &capture.NoSitesError{Errors: p.Errors}
	}
	if len(a.offsets) > maxSites {
		return errTooManySites
	}
	l.Probes = slices.Sorted(maps.Keys(probes))
	return nil
}

var errTooManySites = fmt.Errorf("more than %d probe sites in all", maxSites)

func (t *Tracer) attach(l *Library, p *attachments) error {
	if err := t.fill(l, p); err != nil {
		return err
	}
	l.Sites = len(p.offsets)
	executable, err := link.OpenExecutable(fmt.Sprintf("/proc/self/fd/%d", l.open.Fd()))
	if err != nil {
		return fmt.Errorf("cannot attach to %s: %w", l.Path, err)
	}
	var cookies []uint64
	for _, slot := range l.slots {
		cookies = append(cookies, uint64(slot))
	}
	if l.links, err = t.attachSites(executable, p, cookies); err != nil {
		denied := errors.Is(err, fs.ErrPermission)
		err = fmt.Errorf("cannot attach to %s: %w", l.Path, explain(err, t.profile))
		if denied {
			return &DeniedError{err}
		}
		return err
	}
	return nil
}

// attachSites returns the created links even if it fails.
func (t *Tracer) attachSites(x *link.Executable, p *attachments, cookies []uint64) ([]link.Link, error) {
	if p.calls != nil {
		return t.attachCalls(x, p, cookies)
	}
	o := &link.UprobeMultiOptions{Addresses: p.offsets, Cookies: cookies}
	if slices.ContainsFunc(p.semaphores, func(s uint64) bool { return s != 0 }) {
		o.RefCtrOffsets = p.semaphores
	}
	return t.attachProgram(x, t.program, o)
}

// fill allocates slots in the site map for the library and fills them.
func (t *Tracer) fill(l *Library, p *attachments) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reclaim()
	table := slices.Clone(*t.table.Load())
	if len(t.free)+maxSites-len(table) < len(p.offsets) {
		return fmt.Errorf("cannot attach to %s: %w", l.Path, errTooManySites)
	}
	for range p.offsets {
		var slot uint32
		if n := len(t.free); n > 0 {
			slot, t.free = t.free[n-1], t.free[:n-1]
		} else {
			slot = uint32(len(table))
			table = append(table, nil)
		}
		table[slot] = l
		l.slots = append(l.slots, slot)
	}
	if err := t.fillSites(l, p); err != nil {
		return fmt.Errorf("cannot attach to %s: %w", l.Path, err)
	}
	t.table.Store(&table)
	return nil
}

// fillSites writes the sites to the maps of the programs.
func (t *Tracer) fillSites(l *Library, p *attachments) error {
	if p.calls != nil {
		return t.functions.fill(l, p.calls)
	}
	for i, slot := range l.slots {
		if err := t.collection.Maps[bpf.AuditMapSites].Put(slot, &p.sites[i]); err != nil {
			return err
		}
	}
	return nil
}

// site converts a site to the form of the BPF programs, starting from the fields that
// all sites of the plan share.
func (t *Tracer) site(p *capture.Plan, s *capture.Site, site bpf.AuditSite) (bpf.AuditSite, error) {
	site.Address, site.Kind = s.Address, uint64(s.Kind)
	if s.FiveByteNop && t.replacesFive {
		return site, errFiveByteNop
	}
	if len(s.Arguments) > len(site.Arguments) {
		return site, fmt.Errorf("more than %d arguments", len(site.Arguments))
	}
	added, addedSize := p.Image.Added()
	var err error
	for i := range s.Arguments {
		a, to := &s.Arguments[i], &site.Arguments[i]
		to.Bits = uint8(a.Size) * 8
		if a.Signed {
			to.IsSigned = 1
		}
		if a.Kind == capture.ArgConst {
			to.Kind = uint8(bpf.AuditArgumentKindARGUMENT_CONSTANT)
			to.Offset = a.Const
			continue
		}
		if to.Reg, err = register(a.Reg, p.Machine); err != nil {
			return site, err
		}
		to.Offset = a.Off
		switch a.Kind {
		case capture.ArgReg:
			to.Kind = uint8(bpf.AuditArgumentKindARGUMENT_REGISTER)
			to.Shift = a.Shift
		case capture.ArgMem:
			to.Kind = uint8(bpf.AuditArgumentKindARGUMENT_MEMORY)
		case capture.ArgMemIndexed:
			to.Kind = uint8(bpf.AuditArgumentKindARGUMENT_INDEXED)
			if to.Index, err = register(a.Index, p.Machine); err != nil {
				return site, err
			}
			for scale := a.Scale; scale > 1; scale >>= 1 {
				to.Shift++
			}
		case capture.ArgImageMem:
			to.Kind, to.Reg = uint8(bpf.AuditArgumentKindARGUMENT_MEMORY), biasRegister
		case capture.ArgImageAddr:
			to.Kind, to.Reg = uint8(bpf.AuditArgumentKindARGUMENT_REGISTER), biasRegister
			if uint64(a.Off)-added < addedSize {
				// The program does not copy these strings, which Decode reads; it copies those of the code.
				site.Constants, site.ConstantsSize = added, addedSize
			}
		default:
			return site, fmt.Errorf("argument %s is of a kind that cannot be recorded", a)
		}
	}
	return site, nil
}

// Special register numbers of the programs, ARGUMENT_NO_REGISTER and ARGUMENT_BIAS of
// audit.bpf.h.
const (
	noRegister   = 0xffff
	biasRegister = 0xfffe
)

func register(r capture.Register, m elf.Machine) (uint16, error) {
	if r == capture.NoRegister {
		return noRegister, nil
	}
	return r.PtRegsOffset(m)
}

// literal returns the string at a link-time address of the library. It is a faster
// variant of text for strings that recur, as nearly all keys do.
func (l *Library) literal(address uint64) ([]byte, bool) {
	const spread = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	recent := &l.recent[address*spread>>(64-8)]
	if recent.address == address && recent.text != nil {
		return recent.text, true
	}
	b, ok := l.text(address, -1)
	if ok {
		*recent = literal{address, b}
	}
	return b, ok
}

// text returns the string at a link-time address of the library, or n bytes if n is not
// negative. A string longer than maxString is truncated. The result is shared and must
// not be modified.
func (l *Library) text(address uint64, n int) ([]byte, bool) {
	key := stringKey{address, n}
	if b, ok := l.strings[key]; ok {
		return b, b != nil
	}
	var b []byte
	var ok bool
	if n < 0 {
		// Read one byte more than allowed to detect truncation.
		b, ok = l.image.StringAt(&l.pages, address, maxString+1)
	} else {
		b, ok = l.image.BytesAt(&l.pages, address, n)
	}
	if !ok {
		b = nil
	} else if b == nil {
		b = []byte{}
	}
	if len(l.strings) >= maxStrings {
		clear(l.strings)
	}
	l.strings[key] = b
	return b, ok
}
