// SPDX-License-Identifier: Apache-2.0

package brokerservice

import (
	"context"
	"encoding/json"

	"crypto-auditing/src/internal/broker/operations"
	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/varlinkservice"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingbroker"
)

// operationPage is a reply to ReadOperations whose operations are JSON already.
type operationPage struct {
	Operations []json.RawMessage `json:"operations"`
	Next       string            `json:"next"`
	Missing    uint64            `json:"missing"`
}

// operationEncoder is the operations.Encoder of replies: JSON. An operation that is too large comes without
// the contexts inside it, or without its data.
type operationEncoder struct{}

// Append implements operations.Encoder.
func (operationEncoder) Append(dst []byte, o *operations.Operation) []byte {
	to := operationOf(o)
	text, err := json.Marshal(&to)
	if err == nil && len(text) > reading.MaxPage {
		truncated := true
		to.Children, to.Truncated = nil, &truncated
		if text, err = json.Marshal(&to); err == nil && len(text) > reading.MaxPage {
			to.Data, to.Names = []api.Datum{}, nil
			text, err = json.Marshal(&to)
		}
	}
	if err != nil {
		text = []byte("null") // strings and numbers cannot fail
	}
	return append(dst, text...)
}

// ReadOperations implements the interface.
func (s *service) ReadOperations(ctx context.Context, c api.VarlinkCall, after string, filter *api.Filter, most *int64, reverse *bool) error {
	caller := varlinkservice.CallerOf(&c.Call)
	switch {
	case !s.mayCall(caller.Peer()):
		return c.ReplyPermissionDenied(ctx, "ReadOperations", allCallers)
	case c.IsOneway():
		return c.ReplyInvalidParameter(ctx, "oneway")
	case most != nil && *most < 0:
		return c.ReplyInvalidParameter(ctx, "max")
	}
	f, err := filterOf(filter)
	if err != nil {
		return s.fail(ctx, &c, after, err)
	}
	limit := operations.MaxOperations
	if most != nil && *most > 0 && *most < operations.MaxOperations {
		limit = int(*most)
	}
	if c.WantsMore() {
		release, err := s.broker.Stream(caller.Holder())
		if err != nil {
			return s.fail(ctx, &c, after, err)
		}
		defer release()
	}
	until, cancel := connected(ctx, caller)
	defer cancel()
	for at := after; ; {
		page, err := s.broker.ReadOperations(until, at, f, operations.Options{
			Encoder: operationEncoder{}, Most: limit, Size: reading.MaxPage, NewestFirst: reverse != nil && *reverse,
		})
		if err == nil && len(page.Ends) == 0 && page.Unreadable {
			err = s.broker.Unreadable()
		}
		if err != nil {
			return s.interrupted(ctx, until, &c, after, err)
		}
		next := page.Next.String()
		c.Continues = c.WantsMore() && next != at
		at = next
		if c.Continues && len(page.Ends) == 0 && page.Missing == 0 {
			continue
		}
		if err := c.Reply(ctx, pageOf(page)); err != nil || !c.Continues {
			return err
		}
	}
}

// pageOf returns a page in the form of the interface.
func pageOf(page *operations.Page) *operationPage {
	p := &operationPage{Operations: []json.RawMessage{}, Next: page.Next.String(), Missing: page.Missing}
	from := 0
	for _, end := range page.Ends {
		p.Operations = append(p.Operations, page.Bytes[from:end.At])
		from = end.At
	}
	return p
}

// operationOf returns an operation in the form of the interface.
func operationOf(o *operations.Operation) api.Operation {
	to := api.Operation{
		Cursor: known(o.Cursor), Context: o.Context.String(), Name: known(o.Name), Executable: known(o.Executable), Unit: known(o.Unit),
		Library: known(o.Library), Origin: known(o.Origin), Source: known(o.Source), StartUSec: int64(o.Start), EndUSec: int64(o.End),
		Summary: textsOf(o.Summary), Data: make([]api.Datum, len(o.Data)), Names: textsOf(o.Names),
		Orphan: given(o.Orphan), Truncated: given(o.Truncated),
	}
	for i := range o.Data {
		to.Data[i] = datumOf([]byte(o.Data[i].Key), &o.Data[i].Value)
		to.Data[i].Key = o.Data[i].Key // which is escaped already
	}
	if len(o.Children) > 0 {
		children := make([]api.Operation, len(o.Children))
		for i := range o.Children {
			children[i] = operationOf(&o.Children[i])
		}
		to.Children = &children
	}
	return to
}

func known(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func given(flag bool) *bool {
	if !flag {
		return nil
	}
	return &flag
}

func textsOf(texts []operations.Text) *map[string]string {
	if len(texts) == 0 {
		return nil
	}
	all := map[string]string{}
	for _, t := range texts {
		all[t.Key] = t.Text
	}
	return &all
}
