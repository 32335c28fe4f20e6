// SPDX-License-Identifier: Apache-2.0

// Package journal keeps durable subscriptions and their positions on disk.
package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/message"
)

// The journal is a file of records after a header of 16 bytes: the name, 8 bytes,
// the version, a 32 bit number, and four zero bytes. A record is the length and the
// CRC32C of its content, 32 bit each, then the content: one byte for the kind, and
// CBOR (RFC 8949). Numbers are little endian. Records that belong together are
// written at once and synced before any component relies on them. The file is
// rewritten occasionally and renamed into place.
//
// A record that is cut off by the end of the file was never relied on and is
// discarded, as are zeros at the end, which some file systems leave after a power
// failure. Anything else that cannot be read is damage: the file is set aside, and
// positions are no longer trusted, because lost records may have advanced them.
const (
	journalFile    = "subscriptions"
	journalName    = "CRAUSUBS"
	journalVersion = 1
	headSize       = 16
	recordHead     = 8
	// maxRecord exceeds the size of a record with the longest filter, in bytes.
	maxRecord = 128 << 10
	// rewriteAbove is the size of the records above which the journal is
	// rewritten, in bytes.
	rewriteAbove = 1 << 20
)

// The kinds of records.
const (
	recordDefine byte = 1 + iota
	recordMove
	recordRemove
	recordHandover
)

// Definition is a durable subscription as it was created.
type Definition struct {
	ID      uint64        `cbor:"1,keyasint"`
	Name    string        `cbor:"2,keyasint"`
	User    uint32        `cbor:"3,keyasint"`
	Filter  filter.Spec   `cbor:"4,keyasint"`
	Batch   int           `cbor:"5,keyasint"`
	Window  time.Duration `cbor:"6,keyasint"`
	Flow    string        `cbor:"7,keyasint"`
	Created int64         `cbor:"8,keyasint"` // ns since the Unix epoch
	Place   Place         `cbor:"9,keyasint"`
	// Client is the connection that it is attached to, named by the transport;
	// empty for none. Brokers before 0.2 ignore it, here and in a movement.
	Client string `cbor:"10,keyasint,omitempty"`
	// Outsider reports that the user was outside the group at creation. Brokers
	// before 0.2 neither record nor read it.
	Outsider bool `cbor:"11,keyasint,omitempty"`
	// Form is the form of what is delivered, empty for groups. Brokers before 0.2 deliver
	// groups.
	Form string `cbor:"12,keyasint,omitempty"`
}

// Place is the progress of a subscription.
type Place struct {
	Position  logstore.Cursor `cbor:"1,keyasint"`
	Delivered uint64          `cbor:"2,keyasint"`
	Skipped   uint64          `cbor:"3,keyasint"`
}

// movement is a new place, or a new connection.
type movement struct {
	ID    uint64 `cbor:"1,keyasint"`
	Place Place  `cbor:"2,keyasint"`
	// Client is nil if it is unchanged.
	Client *string `cbor:"3,keyasint,omitempty"`
}

// Handover is a subscription that the previous broker was sending. The next one
// continues it if its connection still exists.
type Handover struct {
	Definition Definition `cbor:"1,keyasint"`
	// Client is the transport's name of the connection.
	Client string `cbor:"2,keyasint"`
}

// Journal stores durable subscriptions on disk.
type Journal struct {
	dir  string
	log  *slog.Logger
	sync func(*os.File) error
	lock *os.File

	// mu guards the following fields. writing is set while a goroutine writes
	// pending, on behalf of all, without holding mu. stopping is set once nothing
	// more is accepted; idle is closed when the last write has ended.
	mu       sync.Mutex
	pending  *batch
	writing  bool
	stopping bool
	idle     chan struct{}

	// The following fields belong to the writing goroutine. file is nil if it must
	// be rewritten first; size is the length of its intact part.
	file      *os.File
	size      int64
	table     map[uint64]*Definition
	handovers []Handover
}

// batch is a set of records that are written at once.
type batch struct {
	records [][]byte
	apply   []func()
	done    chan struct{}
	err     error
}

// Open reads the journal in dir. The restored content is in table and handovers;
// untrusted is set if its positions may be too old. A broker that is stopping may
// still hold the journal for a moment, for which Open waits.
func Open(dir string, wait time.Duration, log *slog.Logger) (j *Journal, untrusted bool, err error) {
	j = &Journal{dir: dir, log: log, table: map[uint64]*Definition{}, sync: func(f *os.File) error {
		return unix.Fdatasync(int(f.Fd()))
	}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, false, fmt.Errorf("cannot open the state: %w", err)
	}
	if err := j.acquire(wait); err != nil {
		return nil, false, err
	}
	b, err := os.ReadFile(j.path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, errors.Join(fmt.Errorf("cannot read the state: %w", err), j.Close())
	}
	if err == nil {
		if damage := j.replay(b); damage != nil {
			untrusted = true
			j.setAside(damage)
		}
	}
	handovers := j.handovers
	// A handover is used only once.
	j.handovers = nil
	if err := j.rewrite(); err != nil {
		return nil, false, errors.Join(err, j.Close())
	}
	j.handovers = handovers
	return j, untrusted, nil
}

// Definitions returns the durable subscriptions that the journal held when it
// was opened.
func (j *Journal) Definitions() []Definition {
	all := make([]Definition, 0, len(j.table))
	for _, d := range j.table {
		all = append(all, *d)
	}
	return all
}

// TakeHandovers returns the subscriptions that the previous broker was sending, once.
func (j *Journal) TakeHandovers() []Handover {
	handovers := j.handovers
	j.handovers = nil
	return handovers
}

func (j *Journal) path() string { return filepath.Join(j.dir, journalFile) }

// acquire locks out other brokers.
func (j *Journal) acquire(wait time.Duration) error {
	f, err := os.OpenFile(filepath.Join(j.dir, "broker.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the state: %w", err)
	}
	for end := time.Now().Add(wait); ; time.Sleep(20 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			j.lock = f
			return nil
		}
		if err != unix.EINTR && (err != unix.EWOULDBLOCK || time.Now().After(end)) {
			f.Close()
			return fmt.Errorf("cannot lock the state in %s: another broker uses it: %w", j.dir, err)
		}
	}
}

// replay restores the records of a journal. The error describes the damage.
func (j *Journal) replay(b []byte) error {
	if len(b) < headSize || string(b[:8]) != journalName {
		return errors.New("it does not begin as a journal does")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != journalVersion {
		return fmt.Errorf("its version is %d, not %d", v, journalVersion)
	}
	at := headSize
	for at < len(b) {
		rest := b[at:]
		if len(bytes.TrimLeft(rest, "\x00")) == 0 || len(rest) < recordHead {
			return nil
		}
		n := int64(binary.LittleEndian.Uint32(rest))
		if n == 0 || n > maxRecord {
			return fmt.Errorf("a record of %d bytes at offset %d", n, at)
		}
		if int64(len(rest)-recordHead) < n {
			return nil
		}
		content := rest[recordHead : recordHead+n]
		if crc32.Checksum(content, crc32.MakeTable(crc32.Castagnoli)) != binary.LittleEndian.Uint32(rest[4:]) {
			return fmt.Errorf("the checksum of the record at offset %d is wrong", at)
		}
		if err := j.apply(content[0], content[1:]); err != nil {
			return fmt.Errorf("the record at offset %d: %w", at, err)
		}
		at += recordHead + int(n)
	}
	return nil
}

func (j *Journal) apply(kind byte, content []byte) error {
	switch kind {
	case recordDefine:
		d := &Definition{}
		if err := cbor.Unmarshal(content, d); err != nil {
			return err
		}
		j.table[d.ID] = d
	case recordMove:
		var m movement
		if err := cbor.Unmarshal(content, &m); err != nil {
			return err
		}
		if d := j.table[m.ID]; d != nil {
			d.Place = m.Place
			if m.Client != nil {
				d.Client = *m.Client
			}
		}
	case recordRemove:
		var id uint64
		if err := cbor.Unmarshal(content, &id); err != nil {
			return err
		}
		delete(j.table, id)
	case recordHandover:
		var h Handover
		if err := cbor.Unmarshal(content, &h); err != nil {
			return err
		}
		j.handovers = append(j.handovers, h)
	default:
		return fmt.Errorf("kind %d is not known", kind)
	}
	return nil
}

// setAside renames a damaged journal.
func (j *Journal) setAside(damage error) {
	aside := fmt.Sprintf("%s.damaged-%d", j.path(), time.Now().UnixNano())
	if err := os.Rename(j.path(), aside); err != nil {
		j.log.Error("the state of subscriptions is damaged and cannot be set aside", "file", j.path(), "damage", damage, "error", err)
		return
	}
	message.StateDamaged.Log(j.log, "file", aside, "error", damage, "subscriptions", len(j.table))
}

func record(kind byte, content any) ([]byte, error) {
	body, err := cbor.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the state: %w", err)
	}
	if len(body)+1 > maxRecord {
		return nil, fmt.Errorf("cannot encode the state: %d bytes are too many", len(body))
	}
	b := make([]byte, recordHead+1, recordHead+1+len(body))
	b[recordHead] = kind
	b = append(b, body...)
	binary.LittleEndian.PutUint32(b, uint32(len(body)+1))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[recordHead:], crc32.MakeTable(crc32.Castagnoli)))
	return b, nil
}

// Define adds a subscription. When it returns nil, the subscription survives a
// power failure; the same holds for Move and Remove.
func (j *Journal) Define(d Definition) error {
	return j.commit(recordDefine, d, func() { j.table[d.ID] = &d })
}

// Move records a new place.
func (j *Journal) Move(id uint64, p Place) error {
	return j.commit(recordMove, movement{ID: id, Place: p}, func() {
		if d := j.table[id]; d != nil {
			d.Place = p
		}
	})
}

// Assign records the connection that a subscription is attached to.
func (j *Journal) Assign(id uint64, p Place, client string) error {
	return j.commit(recordMove, movement{id, p, &client}, func() {
		if d := j.table[id]; d != nil {
			d.Place, d.Client = p, client
		}
	})
}

// Remove removes a subscription.
func (j *Journal) Remove(id uint64) error {
	return j.commit(recordRemove, id, func() { delete(j.table, id) })
}

// commit writes a record, together with all that are requested meanwhile.
func (j *Journal) commit(kind byte, content any, apply func()) error {
	r, err := record(kind, content)
	if err != nil {
		return err
	}
	j.mu.Lock()
	if j.stopping {
		j.mu.Unlock()
		return fault.ErrStopping
	}
	if j.pending == nil {
		j.pending = &batch{done: make(chan struct{})}
	}
	current := j.pending
	current.records = append(current.records, r)
	current.apply = append(current.apply, apply)
	if !j.writing {
		j.writing = true
		go j.writeAll()
	}
	j.mu.Unlock()
	<-current.done
	return current.err
}

// writeAll writes batches while there are any.
func (j *Journal) writeAll() {
	j.mu.Lock()
	for j.pending != nil {
		b := j.pending
		j.pending = nil
		j.mu.Unlock()
		b.err = j.write(b)
		close(b.done)
		j.mu.Lock()
	}
	j.writing = false
	if j.idle != nil {
		close(j.idle)
	}
	j.mu.Unlock()
}

// write writes and syncs a batch.
func (j *Journal) write(b *batch) error {
	if j.file == nil {
		// After a failed write only a new file is known to be intact.
		if err := j.rewrite(); err != nil {
			return err
		}
	}
	all := bytes.Join(b.records, nil)
	_, err := j.file.WriteAt(all, j.size)
	if err == nil {
		err = j.sync(j.file)
	}
	if err != nil {
		j.file.Close()
		j.file = nil
		return fmt.Errorf("cannot write the state: %w", err)
	}
	j.size += int64(len(all))
	for _, apply := range b.apply {
		apply()
	}
	if j.size > rewriteAbove+int64(len(j.table))*maxRecord/8 {
		if err := j.rewrite(); err != nil {
			j.log.Error("cannot rewrite the state of subscriptions", "error", err)
		}
	}
	return nil
}

// rewrite writes a new journal file. Afterwards file is the one to append to; on
// error nothing has changed, and file is nil.
func (j *Journal) rewrite() error {
	if j.file != nil {
		j.file.Close()
		j.file = nil
	}
	b := make([]byte, headSize, 64<<10)
	copy(b, journalName)
	binary.LittleEndian.PutUint32(b[8:], journalVersion)
	for _, id := range slices.Sorted(maps.Keys(j.table)) {
		r, err := record(recordDefine, j.table[id])
		if err != nil {
			return err
		}
		b = append(b, r...)
	}
	for i := range j.handovers {
		r, err := record(recordHandover, &j.handovers[i])
		if err != nil {
			return err
		}
		b = append(b, r...)
	}
	f, err := j.replace(b)
	if err != nil {
		return fmt.Errorf("cannot write the state: %w", err)
	}
	j.file, j.size = f, int64(len(b))
	return nil
}

// replace renames a new file into place and returns it.
func (j *Journal) replace(b []byte) (*os.File, error) {
	temporary := j.path() + ".tmp"
	f, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(b); err == nil {
		if err = j.sync(f); err == nil {
			if err = os.Rename(temporary, j.path()); err == nil {
				err = syncDir(j.dir)
			}
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// Shutdown saves the places of all subscriptions and the handovers for the next
// broker. Nothing is written afterwards.
func (j *Journal) Shutdown(now []Definition, handovers []Handover) error {
	j.mu.Lock()
	j.stopping = true
	writing := j.writing
	if writing && j.idle == nil {
		j.idle = make(chan struct{})
	}
	idle := j.idle
	j.mu.Unlock()
	if writing {
		<-idle
	}
	for i := range now {
		if j.table[now[i].ID] != nil {
			j.table[now[i].ID] = &now[i]
		}
	}
	j.handovers = handovers
	return j.rewrite()
}

// Close releases the journal to another broker.
func (j *Journal) Close() error {
	var errs []error
	for _, c := range []io.Closer{j.file, j.lock} {
		if f, ok := c.(*os.File); ok && f != nil {
			errs = append(errs, f.Close())
		}
	}
	j.file, j.lock = nil, nil
	return errors.Join(errs...)
}
