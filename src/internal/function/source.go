// SPDX-License-Identifier: Apache-2.0

// Package function is the source "function": it plans sites in the functions of
// libraries without probes, and makes operations of the calls that the programs
// there report.
//
// A value is recorded only if package layout vouches for its place and it is one
// that can be: a protocol version, a cipher suite or a group that IANA has
// registered. The first one that cannot be is taken for a wrong layout, and
// nothing more of that library is recorded.
package function

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"crypto-auditing/src/internal/capture"
	"crypto-auditing/src/internal/layout"
)

// Name is the name of the source.
const Name = "function"

// maxStandings bounds the libraries that are remembered.
const maxStandings = 4096

// Source plans sites, and knows how far the values of each library have proved
// right. It may be used from any goroutine.
type Source struct {
	mu        sync.Mutex
	standings map[string]*Standing
}

// Standing is how far the values of a library have proved right.
type Standing struct {
	// Agreed and Differed count the handshakes whose values were the same at the
	// socket, and were not.
	Agreed, Differed uint64
	// Refused counts records that were dropped because a value cannot be.
	Refused uint64
	// Quarantine is why nothing of the library is recorded, nil if it is.
	Quarantine error
}

// Verified reports whether another source saw the same values.
func (s *Standing) Verified() bool { return s.Agreed > 0 }

// New returns a source.
func New() *Source { return &Source{standings: map[string]*Standing{}} }

// Capture returns the source for package attach.
func (s *Source) Capture() capture.Source { return capture.Source{Name: Name, Plan: s.plan} }

// QuarantineError tells that a library is not recorded because its values cannot
// be trusted.
type QuarantineError struct {
	BuildID []byte
	Reason  string
}

func (e *QuarantineError) Error() string {
	return fmt.Sprintf("the library with build-id %x is not recorded any more: %s", e.BuildID, e.Reason)
}

// errNoBuildID: operations are recorded with the build-id of their library, by
// which it is also known when values prove wrong.
var errNoBuildID = errors.New("it has no build-id")

func (s *Source) plan(r io.ReaderAt, size int64) (*capture.Plan, error) {
	l, err := layout.Parse(r, size)
	if errors.Is(err, layout.ErrNoLibrary) {
		return nil, &capture.NoSitesError{Want: "function of a library that can be recorded"}
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

// Standing returns how far the values of a library have proved right.
func (s *Source) Standing(buildID []byte) Standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.standings[string(buildID)]; known != nil {
		return *known
	}
	return Standing{}
}

// of returns the standing of a library. The caller holds mu.
func (s *Source) of(buildID []byte) *Standing {
	known := s.standings[string(buildID)]
	if known == nil {
		if len(s.standings) >= maxStandings {
			// What is in quarantine is not forgotten.
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

// Agree notes that a socket had the same values as a library.
func (s *Source) Agree(buildID []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(buildID).Agreed++
}

// Differ notes that a socket had other values. It returns a *QuarantineError if the
// library is in quarantine from now on.
func (s *Source) Differ(buildID []byte, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.of(buildID)
	known.Differed++
	return known.suspect(buildID, reason)
}

// Refuse notes that a value cannot be. It returns a *QuarantineError if the library
// is in quarantine from now on.
func (s *Source) Refuse(buildID []byte, reason string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.of(buildID)
	known.Refused++
	return known.suspect(buildID, reason)
}

// suspect puts a library into quarantine. What a socket has confirmed stays: any
// program can give its own copy of a library false values.
func (s *Standing) suspect(buildID []byte, reason string) error {
	if s.Verified() || s.Quarantine != nil {
		return nil
	}
	s.Quarantine = &QuarantineError{BuildID: buildID, Reason: reason}
	return s.Quarantine
}

// String describes the standing of a library for people; empty: nothing is known.
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
