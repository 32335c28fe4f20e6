// SPDX-License-Identifier: Apache-2.0

// Package function is the source "function": it plans sites in the functions of
// libraries without probes, and builds operations from the calls that the BPF programs
// there report.
//
// A value is recorded only if package layout verified its location and the value is
// possible: a protocol version, a cipher suite or a group that IANA has registered. The
// first impossible value indicates a wrong layout, and the library is not recorded any
// more.
package function

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/layout/decoder"
)

// Name is the name of the source.
const Name = "function"

// maxStandings bounds the number of libraries with a standing.
const maxStandings = 4096

// Source plans sites and tracks whether the values of each library are plausible. It is
// safe for concurrent use.
type Source struct {
	mu        sync.Mutex
	standings map[string]*Standing
}

// Standing is the evidence for and against the values of a library.
type Standing struct {
	// Agreed counts the handshakes with the same values at the socket, Differed those
	// with other values there.
	Agreed, Differed uint64
	// Refused counts the records that were dropped because of an impossible value.
	Refused uint64
	// Quarantine is the reason why the library is not recorded, nil if it is recorded.
	Quarantine error
}

// Verified reports whether another source observed the same values.
func (s *Standing) Verified() bool { return s.Agreed > 0 }

// New returns a source.
func New() *Source { return &Source{standings: map[string]*Standing{}} }

// Capture returns the source for package attach.
func (s *Source) Capture() capture.Source { return capture.Source{Name: Name, Plan: s.plan} }

// QuarantineError reports that a library is not recorded because its values are
// implausible.
type QuarantineError struct {
	BuildID []byte
	Reason  string
}

func (e *QuarantineError) Error() string {
	return fmt.Sprintf("the library with build-id %x is no longer recorded: %s", e.BuildID, e.Reason)
}

// errNoBuildID is returned for a library without a build-id. Operations are recorded
// with the build-id of their library, and it identifies a library in quarantine.
var errNoBuildID = errors.New("it has no build-id")

// wantFunction describes what a file without sites lacks.
const wantFunction = "function that can be recorded"

func (s *Source) plan(r io.ReaderAt, size int64) (*capture.Plan, error) {
	l, err := decoder.Parse(r, size)
	var refused *decoder.UnsupportedError
	if errors.As(err, &refused) {
		return nil, &capture.NoSitesError{Want: wantFunction, Errors: []error{&capture.LimitError{Text: refused.Error()}}}
	}
	if errors.Is(err, decoder.ErrNoLibrary) {
		return nil, &capture.NoSitesError{Want: wantFunction}
	}
	if err != nil {
		return nil, err
	}
	if len(l.BuildID) == 0 {
		return nil, errNoBuildID
	}
	if err := s.Standing(l.BuildID).Quarantine; err != nil {
		return nil, err
	}
	return planOf(l)
}

// Standing returns a copy of the standing of a library.
func (s *Source) Standing(buildID []byte) Standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.standings[string(buildID)]; known != nil {
		return *known
	}
	return Standing{}
}

// standing returns the standing of a library and adds it if needed. The caller holds mu.
func (s *Source) standing(buildID []byte) *Standing {
	known := s.standings[string(buildID)]
	if known == nil {
		if len(s.standings) >= maxStandings {
			// Libraries in quarantine are never evicted.
			for id, other := range s.standings {
				if other.Quarantine == nil {
					delete(s.standings, id)
					break
				}
			}
		}
		known = &Standing{}
		s.standings[string(buildID)] = known
	}
	return known
}

// Agree records that a socket had the same values as a library.
func (s *Source) Agree(buildID []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.standing(buildID).Agreed++
}

// Differ records that a socket had other values than a library. It returns a
// *QuarantineError if this puts the library into quarantine.
func (s *Source) Differ(buildID []byte, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.standing(buildID)
	known.Differed++
	return known.suspect(buildID, reason)
}

// Refuse records an impossible value. It returns a *QuarantineError if this puts the
// library into quarantine.
func (s *Source) Refuse(buildID []byte, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.standing(buildID)
	known.Refused++
	return known.suspect(buildID, reason)
}

// suspect puts a library into quarantine, unless a socket has confirmed its values: any
// program can make its own copy of a library report false values.
func (s *Standing) suspect(buildID []byte, reason string) error {
	if s.Verified() || s.Quarantine != nil {
		return nil
	}
	s.Quarantine = &QuarantineError{BuildID: buildID, Reason: reason}
	return s.Quarantine
}

// String describes the standing of a library for messages, "" without evidence.
func (s *Standing) String() string {
	switch {
	case s.Quarantine != nil:
		return s.Quarantine.Error()
	case s.Verified() && s.Differed+s.Refused > 0:
		return fmt.Sprintf("verified at sockets %d times; %d records dropped", s.Agreed, s.Differed+s.Refused)
	case s.Verified():
		return fmt.Sprintf("verified at sockets %d times", s.Agreed)
	}
	return ""
}
