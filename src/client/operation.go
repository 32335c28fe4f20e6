// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// Operation is an operation, such as a TLS handshake with its nested operations, or a context
// inside one.
type Operation struct {
	// Cursor is the position just after the last entry of the operation; empty in Children.
	Cursor Cursor
	// Context is the context's id in 32 hexadecimal digits.
	Context string
	// Name is the name of the context, Executable the base name of the program, Unit the systemd
	// unit of the process, Origin the build-id of the library in hexadecimal digits, Library its
	// name, Source the source of the events; empty if unknown.
	Name, Executable, Unit, Origin, Library, Source string
	// Start and End are the times of the first and the last event, rounded to microseconds.
	Start, End time.Time
	// Summary has the results, as names, by keys without their scope, such as
	// "protocol_version"; nil in Children.
	Summary map[string]string
	// Data has the last value of each key, in the order of the first values, without the name.
	Data []Datum
	// Names are the registered names of numbers among the data, by key.
	Names map[string]string
	// Children are the nested contexts, at most 8 levels of them.
	Children []Operation
	// Orphan reports that the beginning is not in the log.
	Orphan bool
	// Truncated reports that the operation is not complete: nested deeper, or too large.
	Truncated bool
}

// OperationPage is the result of ReadOperations.
type OperationPage struct {
	// Operations are in the order of their completion, or in the opposite order.
	Operations []Operation
	// Next is the cursor to continue from.
	Next Cursor
	// Missing is the number of entries between the cursor and Next that no longer exist.
	Missing uint64
}

// OperationOptions are options of ReadOperations.
type OperationOptions struct {
	// Limit is the highest number of operations, MaxRead if it is 0.
	Limit int
	// Reverse reads backwards from the cursor, the newest operation first.
	Reverse bool
}

// ReadOperations returns operations that were completed after a cursor, or before it. A page with
// fewer operations than the limit, even none, is the end only if Next has not moved. It needs
// version 4 of the broker's interface. Errors: ErrInvalidCursor, ErrForeignCursor, ErrInvalidFilter,
// ErrStoreCorrupt, ErrAccessDenied, ErrUnreachable.
func (c *Client) ReadOperations(ctx context.Context, cursor Cursor, filter Filter, options OperationOptions) (OperationPage, error) {
	o := map[string]dbus.Variant{}
	if options.Reverse {
		o["reverse"] = dbus.MakeVariant(true)
	}
	limit := uint32(min(max(options.Limit, 0), MaxRead))
	body, err := c.call(ctx, brokerPath, brokerInterface+".ReadOperations", string(cursor), filter.encode(), limit, o)
	if err != nil {
		return OperationPage{}, fmt.Errorf("cannot read operations: %w", err)
	}
	if len(body) != 3 {
		return OperationPage{}, fmt.Errorf("%w: ReadOperations returned %d values", ErrProtocol, len(body))
	}
	var p OperationPage
	var ok bool
	if p.Operations, ok = operationsOf(body[0], nil); !ok {
		return OperationPage{}, fmt.Errorf("%w: ReadOperations returned operations of another form", ErrProtocol)
	}
	return p, store("ReadOperations", body[1:], &p.Next, &p.Missing)
}

// operationsOf decodes an array of operations as sent over the bus, aa{sv}. Nested operations inherit the
// attributes that they lack.
func operationsOf(value any, around *Operation) ([]Operation, bool) {
	list, ok := value.([]map[string]dbus.Variant)
	if !ok {
		return nil, false
	}
	operations := make([]Operation, len(list))
	for i, fields := range list {
		if o := &operations[i]; around != nil {
			o.Executable, o.Unit, o.Library, o.Origin, o.Source = around.Executable, around.Unit, around.Library, around.Origin, around.Source
		}
		if !operations[i].set(fields) {
			return nil, false
		}
	}
	return operations, true
}

// set stores the fields of an operation. It ignores unknown ones.
func (o *Operation) set(fields map[string]dbus.Variant) bool {
	var cursor string
	var start, end uint64
	var data [][]any
	for name, to := range map[string]any{
		"cursor": &cursor, "context": &o.Context, "name": &o.Name, "executable": &o.Executable, "unit": &o.Unit, "origin": &o.Origin,
		"library": &o.Library, "source": &o.Source, "start": &start, "end": &end, "summary": &o.Summary, "names": &o.Names,
		"orphan": &o.Orphan, "truncated": &o.Truncated, "data": &data,
	} {
		if v, given := fields[name]; given && !set(v.Value(), to) {
			return false
		}
	}
	o.Cursor, o.Start, o.End = Cursor(cursor), fromMicros(start), fromMicros(end)
	var ok bool
	if o.Data, ok = dataOf(data); !ok {
		return false
	}
	if children, given := fields["children"]; given {
		o.Children, ok = operationsOf(children.Value(), o)
	}
	return ok
}

// set stores a value if it has the type of the variable that to points to.
func set(value, to any) bool {
	switch to := to.(type) {
	case *string:
		return as(value, to)
	case *uint64:
		return as(value, to)
	case *bool:
		return as(value, to)
	case *map[string]string:
		return as(value, to)
	case *[][]any:
		return as(value, to)
	}
	return false
}
