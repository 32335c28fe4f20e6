// SPDX-License-Identifier: Apache-2.0

// Package junit writes results as JUnit XML, with the elements that continuous integration systems read.
package junit

import (
	"encoding/xml"
	"io"
	"time"
)

// Suite is a group of cases.
type Suite struct {
	Name      string `xml:"name,attr"`
	Tests     int    `xml:"tests,attr"`    // set by Write, like Failures, Skipped and Timestamp
	Failures  int    `xml:"failures,attr"` // the numbers of cases
	Skipped   int    `xml:"skipped,attr"`
	Timestamp string `xml:"timestamp,attr"`
	Cases     []Case `xml:"testcase"`
}

// Case is a result: a success, unless it is a failure or was skipped.
type Case struct {
	Class   string   `xml:"classname,attr"`
	Name    string   `xml:"name,attr"`
	Failure *Message `xml:"failure,omitempty"`
	Skipped *Message `xml:"skipped,omitempty"`
	Out     string   `xml:"system-out,omitempty"`
}

// Message is a line with details.
type Message struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// Write writes suites with the time at which their results were computed.
func Write(w io.Writer, name string, at time.Time, suites []Suite) error {
	all := struct {
		XMLName  xml.Name `xml:"testsuites"`
		Name     string   `xml:"name,attr"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Skipped  int      `xml:"skipped,attr"`
		Suites   []Suite  `xml:"testsuite"`
	}{Name: name, Suites: suites}
	for i := range all.Suites {
		s := &all.Suites[i]
		s.Timestamp = at.Format("2006-01-02T15:04:05")
		s.Tests, s.Failures, s.Skipped = len(s.Cases), 0, 0
		for j := range s.Cases {
			if s.Cases[j].Failure != nil {
				s.Failures++
			}
			if s.Cases[j].Skipped != nil {
				s.Skipped++
			}
		}
		all.Tests, all.Failures, all.Skipped = all.Tests+s.Tests, all.Failures+s.Failures, all.Skipped+s.Skipped
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
