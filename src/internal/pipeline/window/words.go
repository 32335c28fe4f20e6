// SPDX-License-Identifier: Apache-2.0

package window

import (
	"bytes"
	"unicode/utf8"

	"crypto-auditing/src/internal/entry"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/frame"
)

// maxWords bounds the table of words. Real programs use some hundred; a process that
// generates new ones only causes the table to be cleared.
const maxWords = 8192

// word is a recurring key, name or executable, with the data that the log's filters
// need.
type word struct {
	// raw is the text passed to the probe, text its form in the log for keys and names.
	raw, text []byte
	// head is the encoded beginning of an untruncated element with the key.
	head []byte
	// used is, by kind of term, the last window in which the word was used.
	used [terms]uint64
	hash [terms]uint64
	// values is nil unless the word is a key with values.
	values *keyValues
}

// keyValues computes the terms of the values of a key. It caches recent values, which
// need not be hashed again within a window.
type keyValues struct {
	seed  frame.ValueSeed
	words [8]struct {
		window uint64
		word   uint16
	}
	texts [4]struct {
		window uint64
		text   []byte
	}
}

// The kinds of terms that index word.used.
const (
	asName = iota
	asKey
	asExecutable
	asUnit
	asSource
	terms
)

// words has one word for each text. It must be used by one goroutine only.
type words struct {
	byText map[string]*word
	// recent caches words to avoid most lookups in the map.
	recent [64]*word
	// terms are the hashes of the words used in the current window.
	terms  []uint64
	values []uint64 // likewise, of the values of keys
	window uint64
}

func newWords() *words { return &words{byText: map[string]*word{}, window: 1} }

// get returns the word for text, which is copied.
func (w *words) get(text []byte) *word {
	recent := w.slot(text)
	if known := *recent; known != nil && string(known.raw) == string(text) {
		return known
	}
	*recent = w.find(text)
	return *recent
}

// slot returns the slot of a word in recent. Names mostly differ at the end.
func (w *words) slot(text []byte) **word {
	n := len(text)
	at := n
	if n > 0 {
		at += 5*int(text[n-1]) + 17*int(text[n/2])
	}
	return &w.recent[at%len(w.recent)]
}

// find returns the word for text from the map and adds it if necessary.
func (w *words) find(text []byte) *word {
	if known := w.byText[string(text)]; known != nil {
		return known
	}
	if len(w.byText) >= maxWords {
		// Words in use remain valid; they are only no longer shared.
		clear(w.byText)
	}
	made := &word{raw: bytes.Clone(text)}
	made.text = made.raw
	if !utf8.Valid(text) {
		made.text = event.AppendEscaped(nil, text)
	}
	made.head = event.DataHead(made.text)
	made.hash = [...]uint64{
		asName:       logstore.TermHash(logstore.Name, made.text),
		asKey:        logstore.TermHash(logstore.Key, made.text),
		asExecutable: logstore.TermHash(logstore.Executable, made.raw),
		asUnit:       logstore.TermHash(logstore.Unit, made.text),
		asSource:     logstore.TermHash(logstore.Source, made.text),
	}
	w.byText[string(text)] = made
	return made
}

// appendData appends a key and its value as an event.
func (x *word) appendData(dst []byte, v *event.Value) []byte {
	if v.Truncated || v.Unreadable {
		return event.AppendData(dst, x.text, v)
	}
	return event.AppendValue(append(dst, x.head...), v)
}

// use records that the current window uses a word as a term of the given kind.
func (w *words) use(x *word, as int) {
	if x.used[as] != w.window {
		x.used[as] = w.window
		w.terms = append(w.terms, x.hash[as])
	}
}

// useValue records that the current window has a value of a key.
func (w *words) useValue(key *word, v *event.Value) {
	k := key.values
	if k == nil {
		k = &keyValues{seed: frame.NewValueSeed(key.text)}
		key.values = k
	}
	if v.Kind == event.Word {
		last := &k.words[v.Word&7]
		if last.window == w.window && last.word == uint16(v.Word) {
			return
		}
		last.window, last.word = w.window, uint16(v.Word)
	} else if n := len(v.Bytes); n <= frame.MaxValue {
		at := n
		if n > 0 {
			at += int(v.Bytes[n-1])
		}
		last := &k.texts[at%len(k.texts)]
		if last.window == w.window && bytes.Equal(last.text, v.Bytes) {
			return
		}
		last.window, last.text = w.window, append(last.text[:0], v.Bytes...)
	}
	w.addValue(key, v)
}

// addValue adds the term of a value of a key.
func (w *words) addValue(key *word, v *event.Value) {
	if len(w.values) > maxValues || string(key.text) == event.KeyName {
		return // the filter has no values then, or has the name of the context
	}
	if hash, ok := entry.ValueHash(key.values.seed, v); ok {
		w.values = append(w.values, hash)
	}
}

// maxValues is the highest number of value terms that a window collects, duplicates
// included.
const maxValues = 2 * frame.MaxValues

// takeTerms appends the terms of the current window to a batch. A window with too many
// values contributes none of them.
func (w *words) takeTerms(b *Batch) {
	b.Terms = append(b.Terms, w.terms...)
	switch {
	case len(w.values) > maxValues:
		b.Values = nil
	case b.Values == nil:
		b.Values = append([]uint64{}, w.values...)
	default:
		b.Values = append(b.Values, w.values...)
	}
}

// next begins a new window.
func (w *words) next() {
	w.window++
	w.terms, w.values = w.terms[:0], w.values[:0]
}
