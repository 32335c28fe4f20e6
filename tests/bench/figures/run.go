// SPDX-License-Identifier: Apache-2.0

package figures

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"time"
)

// Options are the command-line options of a measuring program.
type Options struct {
	// Quick asks for less time and more noise.
	Quick bool
	// Only selects by the names of figures; it matches all by default.
	Only *regexp.Regexp
	// Output is the file into which figures are merged.
	Output string
	// Later leaves the table to who prints that of all programs.
	Later bool
}

// Parse parses the command line. quick is the help text of that option.
func Parse(quick string) (o Options, err error) {
	only := flag.String("only", "", "measure only what reports a name that matches `REGEXP`")
	flag.BoolVar(&o.Quick, "quick", false, quick)
	flag.BoolVar(&o.Later, "later", false, "print no table: tests/bench/table will")
	flag.StringVar(&o.Output, "output", "build/bench.json", "merge the figures into `FILE`")
	flag.Parse()
	if flag.NArg() > 0 {
		return o, fmt.Errorf("cannot understand argument %q", flag.Arg(0))
	}
	if o.Only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("cannot use --only: %w", err)
	}
	return o, nil
}

// Measurement is one part of a run.
type Measurement struct {
	// Names are those of the figures it reports.
	Names string
	Run   func() error
	// Undisturbed is set if other programs cannot change what it measures.
	Undisturbed bool
}

// Measure makes the measurements that are asked for, one after the other. Each
// appends to the list, where what other programs used meanwhile is added.
func (o Options) Measure(all []Measurement, list *List) error {
	begin := time.Now()
	for _, m := range all {
		if !o.Only.MatchString(m.Names) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%5.0f s  %s\n", time.Since(begin).Seconds(), m.Names)
		first, before := len(*list), now()
		if err := m.Run(); err != nil {
			return fmt.Errorf("cannot measure %s: %w", m.Names, err)
		}
		for i := first; i < len(*list) && !m.Undisturbed; i++ {
			(*list)[i].Others = before.others(now())
		}
	}
	return nil
}

// Report prints the figures, unless that comes later, and merges them into the
// files.
func (o Options) Report(f List) error {
	if !o.Later {
		fmt.Println()
		if err := f.Print(os.Stdout); err != nil {
			return err
		}
	}
	return errors.Join(f.Merge(o.Output), f.keep(o.Output))
}
