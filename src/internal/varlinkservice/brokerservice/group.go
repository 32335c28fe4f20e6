// SPDX-License-Identifier: Apache-2.0

package brokerservice

import (
	"encoding/base64"
	"encoding/json"

	"crypto-auditing/src/internal/event"
	api "crypto-auditing/src/internal/varlinkservice/orgcryptoauditingbroker"
)

// appendGroup is the reading.Encoder for groups as JSON.
func appendGroup(dst []byte, e *event.Entry) []byte {
	g := e.Group
	to := api.Group{
		Sequence: int64(e.Sequence), Context: g.Context.String(),
		StartUSec: int64(e.Start()), EndUSec: int64(e.End()),
		Data: []api.Datum{},
	}
	texts := map[string]**string{
		event.AttributeParent: &to.Parent, event.AttributeName: &to.Name, event.AttributeOrigin: &to.Origin,
		event.AttributeExecutable: &to.Executable, event.AttributeUnit: &to.Unit, event.AttributeSource: &to.Source,
		event.AttributeReason: &to.Reason,
	}
	numbers := map[string]**int64{
		event.AttributeLost: &to.Lost, event.AttributeUnrecordedSince: &to.UnrecordedSinceUSec,
		event.AttributeUnrecordedUntil: &to.UnrecordedUntilUSec,
	}
	for _, a := range e.Attributes(nil) {
		if field := texts[a.Name]; field != nil {
			text := string(a.Text)
			*field = &text
		} else if field := numbers[a.Name]; field != nil {
			number := int64(a.Number)
			*field = &number
		}
	}
	for i := range g.Events {
		if d := &g.Events[i]; d.Kind == event.Data {
			to.Data = append(to.Data, datumOf(d.Key, &d.Value))
		}
	}
	text, err := json.Marshal(&to)
	if err != nil {
		return append(dst, "null"...) // strings and numbers cannot fail
	}
	return append(dst, text...)
}

func datumOf(key []byte, v *event.Value) api.Datum {
	d := api.Datum{Key: string(event.Escaped(key))}
	switch v.Form() {
	case event.Word:
		d.Word = &v.Word
	case event.String:
		text := string(v.Bytes)
		d.Text = &text
	default:
		blob := base64.StdEncoding.EncodeToString(v.Bytes)
		d.Blob = &blob
	}
	return d
}
