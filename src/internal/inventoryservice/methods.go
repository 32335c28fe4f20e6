// SPDX-License-Identifier: Apache-2.0

package inventoryservice

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"crypto-auditing/src/internal/busservice/dictionary"
	"crypto-auditing/src/internal/busservice/object"
	"crypto-auditing/src/internal/inventory"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
)

// maxRows is the highest number of rows that List returns.
const maxRows = 1000

func methods() map[string]object.Method[*call] {
	return map[string]object.Method[*call]{
		"List":         {In: "a{sv}su", Serve: (*call).list},
		"Summarize":    {In: "asa{sv}", Serve: (*call).summarize},
		"ListPolicies": {In: "", Serve: (*call).listPolicies},
		"Report":       {In: "a{sv}", Serve: (*call).report},
		"CheckPolicy":  {In: "sa{sv}", Serve: (*call).checkPolicy},
		"Export":       {In: "sa{sv}", Serve: (*call).export},
	}
}

// beginQuery begins a query of the inventory: it waits for the semaphore, and until the inventory has caught up
// with the log or the wait times out. done ends the query.
func (c *call) beginQuery() (done func(), err error) {
	s := c.service
	ctx, cancel := context.WithTimeout(c.ctx, s.options.Wait)
	defer cancel()
	// Regardless of the error, which is logged, the answer uses the stored rows: UpToDate and the coverage
	// show how complete they are.
	_ = s.updates.Join().Wait(ctx)
	if err := s.questions.Acquire(c.ctx, c.caller.User); err != nil {
		return nil, err
	}
	return func() { s.questions.Release(c.caller.User) }, nil
}

// list serves List.
func (c *call) list() ([]any, error) {
	var d dictionary.Dictionary
	var after string
	var most uint32
	if err := c.Arguments(&d, &after, &most); err != nil {
		return nil, err
	}
	if err := c.authorise(true); err != nil {
		return nil, err
	}
	f, err := filterOf(d)
	if err != nil {
		return nil, err
	}
	done, err := c.beginQuery()
	if err != nil {
		return nil, err
	}
	defer done()
	if most == 0 || most > maxRows {
		most = maxRows
	}
	for {
		rows, next, err := c.service.inventory.List(c.ctx, f, after, int(most))
		if err != nil {
			return nil, err
		}
		// Rows with long names may take more than a reply.
		if most > 1 && sizeOf(rows) > maxReply {
			most /= 2
			continue
		}
		return []any{c.service.rowsOf(rows), next}, nil
	}
}

// sizeOf returns the approximate maximum size of rows in a reply, in bytes.
func sizeOf(rows []row.Row) (size int) {
	const numbers, perText = 300, 40
	fields := row.Fields()
	for i := range rows {
		size += numbers
		for _, f := range fields {
			if n := len(f.Text(&rows[i].Use)); n > 0 {
				size += n + perText
			}
		}
	}
	return size
}

// filterOf decodes a filter.
func filterOf(d dictionary.Dictionary) (f inventory.Filter, err error) {
	f.Fields = map[string][]string{}
	for key := range d {
		switch _, known := row.FieldNamed(key); {
		case key == "since" || key == "until":
		case !known:
			return f, invalidFilter("there is no key " + dictionary.Clip(key) + " in a filter")
		default:
			var values []string
			if err := dictionary.Get(d, key, &values); err != nil {
				return f, invalidFilter(err.Error())
			}
			f.Fields[key] = values
		}
	}
	if f.Since, f.Until, err = period(d); err != nil {
		return f, invalidFilter(err.Error())
	}
	return f, nil
}

// period decodes a period.
func period(d dictionary.Dictionary) (since, until time.Time, err error) {
	for key, t := range map[string]*time.Time{"since": &since, "until": &until} {
		var us uint64
		if err := dictionary.Get(d, key, &us); err != nil {
			return since, until, err
		}
		if us > 0 {
			*t = time.UnixMicro(int64(min(us, 1<<62))).UTC()
		}
	}
	return since, until, nil
}

// summarize serves Summarize.
func (c *call) summarize() ([]any, error) {
	var names []string
	var d dictionary.Dictionary
	if err := c.Arguments(&names, &d); err != nil {
		return nil, err
	}
	if err := c.authorise(true); err != nil {
		return nil, err
	}
	f, err := filterOf(d)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		if _, ok := row.FieldNamed(name); !ok && name != "day" && name != "week" {
			return nil, dictionary.Invalid("rows cannot be counted by " + dictionary.Clip(name))
		}
	}
	done, err := c.beginQuery()
	if err != nil {
		return nil, err
	}
	defer done()
	rows, err := c.service.inventory.Summarize(c.ctx, slices.Compact(names), f)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(rows, func(x, y row.Row) int { return cmp.Compare(y.Count, x.Count) })
	return []any{c.service.rowsOf(rows)}, nil
}

// listPolicies serves ListPolicies.
func (c *call) listPolicies() ([]any, error) {
	if err := c.authorise(true); err != nil {
		return nil, err
	}
	names, err := c.service.options.Answers.Policies()
	if err != nil {
		return nil, err
	}
	return []any{append([]string{}, names...)}, nil
}

// observedKeys returns the options of all answers, which select the observations.
func observedKeys() []string { return []string{"since", "until", "executable", "unit"} }

// observe returns the observations that options select. done ends their use.
func (c *call) observe(options dictionary.Dictionary, known ...string) (o *observed.Observed, report ReportOptions, done func(), err error) {
	f := inventory.Filter{Fields: map[string][]string{}}
	err = dictionary.Known(options, append(observedKeys(), known...)...)
	if err == nil {
		f.Since, f.Until, err = period(options)
	}
	for _, key := range []string{"executable", "unit"} {
		var values []string
		if err == nil {
			err = dictionary.Get(options, key, &values)
		}
		f.Fields[key] = values
	}
	if err == nil {
		err = errors.Join(dictionary.Get(options, "profiles", &report.Profiles), dictionary.Get(options, "anonymous", &report.Anonymous))
	}
	if err != nil {
		return nil, report, nil, dictionary.Invalid("options: " + err.Error())
	}
	if done, err = c.beginQuery(); err != nil {
		return nil, report, nil, err
	}
	if o, err = c.service.inventory.Observed(c.ctx, f); err != nil {
		done()
		return nil, report, nil, err
	}
	return o, report, done, nil
}

// reportKeys returns the additional options of reports.
func reportKeys() []string { return []string{"profiles", "anonymous"} }

// report serves Report.
func (c *call) report() ([]any, error) {
	var options dictionary.Dictionary
	if err := c.Arguments(&options); err != nil {
		return nil, err
	}
	if err := c.authorise(true); err != nil {
		return nil, err
	}
	o, reporting, done, err := c.observe(options, reportKeys()...)
	if err != nil {
		return nil, err
	}
	defer done()
	answer, err := c.service.options.Answers.Report(o, reporting)
	if err != nil {
		return nil, err
	}
	return document(answer)
}

// checkPolicy serves CheckPolicy.
func (c *call) checkPolicy() ([]any, error) {
	var policy string
	var options dictionary.Dictionary
	if err := c.Arguments(&policy, &options); err != nil {
		return nil, err
	}
	if err := c.authorise(true); err != nil {
		return nil, err
	}
	o, _, done, err := c.observe(options)
	if err != nil {
		return nil, err
	}
	defer done()
	answer, err := c.service.options.Answers.CheckPolicy(o, policy)
	if err != nil {
		return nil, err
	}
	return document(answer)
}

// document returns the result of a method that is a document.
func document(answer any) ([]any, error) {
	d, err := documentOf(answer)
	if err != nil {
		return nil, err
	}
	return []any{d}, nil
}
