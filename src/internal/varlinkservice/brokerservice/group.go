// SPDX-License-Identifier: Apache-2.0

package brokerservice

import (
	"encoding/base64"
	"encoding/json"

	"crypto-auditing/src/internal/broker/reading"
	"crypto-auditing/src/internal/event"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingbroker"
)

// appendGroup is the reading.Form of groups: JSON.
func appendGroup(dst []byte, e *reading.Entry) []byte {
	g := e.Group
	to := api.Group{
		Sequence: int64(e.Sequence), Context: g.Context.String(),
		StartUSec: int64(e.Microseconds(g.Start)), EndUSec: int64(e.Microseconds(g.End)),
		Data: []api.Datum{},
	}
	reading.Attributes(e, func(name string, value []byte) {
		text := string(value)
		switch name {
		case reading.AttributeParent:
			to.Parent = &text
		case reading.AttributeName:
			to.Name = &text
		case reading.AttributeOrigin:
			to.Origin = &text
		case reading.AttributeExecutable:
			to.Executable = &text
		case reading.AttributeReason:
			to.Reason = &text
		}
	}, func(name string, value uint64) {
		number := int64(value)
		switch name {
		case reading.AttributeLost:
			to.Lost = &number
		case reading.AttributeUnrecordedSince:
			to.UnrecordedSinceUSec = &number
		case reading.AttributeUnrecordedUntil:
			to.UnrecordedUntilUSec = &number
		}
	})
	for i := range g.Events {
		if d := &g.Events[i]; d.Kind == event.Data {
			to.Data = append(to.Data, datumOf(d.Key, &d.Value))
		}
	}
	text, err := json.Marshal(&to)
	if err != nil {
		return append(dst, "null"...) // strings and numbers do not fail
	}
	return append(dst, text...)
}

func datumOf(key []byte, v *event.Value) api.Datum {
	d := api.Datum{Key: string(reading.Plain(key))}
	switch {
	case v.Kind == event.Word:
		d.Word = &v.Word
	case reading.IsText(v):
		text := string(v.Bytes)
		d.Text = &text
	default:
		blob := base64.StdEncoding.EncodeToString(v.Bytes)
		d.Blob = &blob
	}
	return d
}
