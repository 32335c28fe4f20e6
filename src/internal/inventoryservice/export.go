// SPDX-License-Identifier: Apache-2.0

package inventoryservice

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/busservice/dictionary"
	"crypto-auditing/src/internal/inventory/observed"
)

// Answers makes the answers that are derived from observations. An error is an *InvalidError,
// ErrNoPolicy, or about the answer.
type Answers interface {
	// Policies returns the names of the policies of the machine.
	Policies() ([]string, error)
	// Report and CheckPolicy return a value whose JSON form is the answer.
	Report(o *observed.Observed, options ReportOptions) (any, error)
	CheckPolicy(o *observed.Observed, policy string) (any, error)
	// Formats lists the formats of Export.
	Formats() []string
	// Export writes a document.
	Export(w io.Writer, format string, o *observed.Observed, options ReportOptions) error
}

// ReportOptions are options of reports.
type ReportOptions struct {
	// Profiles are the profiles whose rules apply; none: the default ones.
	Profiles []string
	// Anonymous omits programs and exact times.
	Anonymous bool
}

// ReportPrefix begins the formats of reports.
const ReportPrefix = "report-"

// errAnswer marks an error of an answer.
var errAnswer = errors.New("cannot answer")

// Failed marks an error that an answer could not be made, although the inventory could be read.
func Failed(err error) error { return fmt.Errorf("%w: %w", errAnswer, err) }

const (
	// maxDocument bounds a document in bytes: it is kept in memory until its reader has read it.
	maxDocument = 32 << 20
	// documentTime is the time limit for its reader.
	documentTime = time.Minute
	// userDocuments is the highest number of unread documents of one user, allDocuments of all users
	// except root.
	userDocuments = 2
	allDocuments  = 8
)

// export serves Export.
func (c *call) export() ([]any, error) {
	var format string
	var options dictionary.Dictionary
	if err := c.Arguments(&format, &options); err != nil {
		return nil, err
	}
	if err := c.authorise(true); err != nil {
		return nil, err
	}
	answers := c.service.options.Answers
	if formats := answers.Formats(); !slices.Contains(formats, format) {
		return nil, dictionary.Invalid("there is no format " + dictionary.Clip(format) + "; there are: " + strings.Join(formats, " "))
	}
	var known []string
	if strings.HasPrefix(format, ReportPrefix) {
		known = reportKeys()
	}
	holder := c.service.access.Holder(c.caller)
	if c.service.held.Take(holder) != nil {
		return nil, limitExceeded("a user may have %d documents that were not read", userDocuments)
	}
	text, pipe, err := c.write(format, options, known)
	if err != nil {
		c.service.held.Release(holder)
		return nil, err
	}
	c.after = func() {
		pipe.read.Close()
		c.service.documents.Go(func() {
			defer c.service.held.Release(holder)
			c.service.pass(text, pipe.write)
		})
	}
	return []any{dbus.UnixFD(pipe.read.Fd())}, nil
}

// pipe are the ends of a pipe.
type pipe struct{ read, write *os.File }

// write makes a document and a pipe for it.
func (c *call) write(format string, options dictionary.Dictionary, known []string) (text []byte, p pipe, err error) {
	o, report, done, err := c.observe(options, known...)
	if err != nil {
		return nil, p, err
	}
	defer done()
	document := limited{most: maxDocument}
	if err := c.service.options.Answers.Export(&document, format, o, report); err != nil {
		return nil, p, err
	}
	if p.read, p.write, err = os.Pipe(); err != nil {
		return nil, p, Failed(fmt.Errorf("cannot make a pipe: %w", err))
	}
	return document.Bytes(), p, nil
}

// pass writes a document to a pipe until it is read, the time limit expires, or the service stops.
func (s *Service) pass(text []byte, pipe *os.File) {
	defer pipe.Close()
	_ = pipe.SetWriteDeadline(time.Now().Add(documentTime))
	stop := context.AfterFunc(s.working, func() { _ = pipe.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	_, _ = pipe.Write(text) // the reader may close the pipe early
}

// limited is a buffer that does not grow beyond most bytes.
type limited struct {
	bytes.Buffer
	most int
}

// Write implements io.Writer.
func (l *limited) Write(b []byte) (int, error) {
	if l.Len()+len(b) > l.most {
		return 0, limitExceeded("the document has more than %d bytes: export a shorter period", l.most)
	}
	return l.Buffer.Write(b)
}
