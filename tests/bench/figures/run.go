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
	// Quick selects shorter measurements with more noise.
	Quick bool
	// Only selects figures by their names; by default it matches all.
	Only *regexp.Regexp
	// Output is the file into which figures are merged.
	Output string
	// Later disables the table, because another program prints the table of all programs.
	Later bool
}

// Parse parses the command line. quick is the help text of --quick.
func Parse(quick string) (o Options, err error) {
	only := flag.String("only", "", "make only measurements of figures whose names match `REGEXP`")
	flag.BoolVar(&o.Quick, "quick", false, quick)
	flag.BoolVar(&o.Later, "later", false, "print no table, for tests/bench/table to print it")
	flag.StringVar(&o.Output, "output", "build/bench.json", "merge the figures into `FILE`")
	flag.Parse()
	if flag.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if o.Only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("cannot use --only: %w", err)
	}
	return o, nil
}

// Measurement is one part of a run.
type Measurement struct {
	// Names are the names of the figures that it reports.
	Names string
	Run   func() error
	// Undisturbed is set if other programs cannot affect the figures.
	Undisturbed bool
}

// Measure makes the selected measurements, one after the other. Each appends its figures
// to the list; Measure adds the share that other programs used.
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

// Report prints the figures unless Later is set, and merges them into the files.
func (o Options) Report(f List) error {
	if !o.Later {
		fmt.Println()
		if err := f.Print(os.Stdout); err != nil {
			return err
		}
	}
	return errors.Join(f.Merge(o.Output), f.saveTable(o.Output))
}
