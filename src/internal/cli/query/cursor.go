// SPDX-License-Identifier: Apache-2.0

package query

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"crypto-auditing/src/internal/cli/output"
	"crypto-auditing/src/internal/cli/query/viewer"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/logstore"
)

// startCursor returns the cursor after which the query begins, nil if none is given, and
// notes for the user.
func (q *query) startCursor(src source.Store) (after *logstore.Cursor, notes []string, err error) {
	text, from := q.afterCursor, "--after-cursor"
	if q.cursorFile != "" {
		saved, err := os.ReadFile(q.cursorFile)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, nil, fmt.Errorf("cannot read cursor: %w", err)
		default:
			text, from = strings.TrimSpace(string(saved)), q.cursorFile
		}
	}
	if text == "" {
		return nil, nil, nil
	}
	c, err := src.Resolve(text)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use cursor of %s: %w", from, err)
	}
	missing, err := src.Seek(c)
	if err != nil {
		return nil, nil, err
	}
	if missing > 0 {
		notes = append(notes, fmt.Sprintf("%d entries after the cursor have been removed from the log", missing))
	}
	return &c, notes, nil
}

// saveCursor prints and saves the cursor after the shown entries.
func (q *query) saveCursor(src source.Store, out *output.Output, v *viewer.Viewer) error {
	if v.Cursor == nil {
		if err := q.noteEnd(src, v); err != nil {
			return err
		}
	}
	if v.Cursor == nil {
		return nil
	}
	text := v.Cursor.String()
	if q.cursorFile != "" {
		if err := source.SaveCursor(q.cursorFile, text); err != nil {
			return fmt.Errorf("cannot save cursor: %w", err)
		}
	}
	if !q.showCursor {
		return nil
	}
	line := "-- cursor: " + text
	if !q.form.Text {
		_, err := fmt.Fprintln(out.Notes(), line) // the cursor is not part of the form
		return err
	}
	return out.WriteLine(line)
}

// noteEnd records the position of the source as the end of the shown entries, if it is to
// be printed or saved.
func (q *query) noteEnd(src source.Store, v *viewer.Viewer) error {
	if !q.showCursor && q.cursorFile == "" {
		return nil
	}
	c, err := src.Cursor()
	if err != nil {
		return err
	}
	v.Cursor = &c
	return nil
}
