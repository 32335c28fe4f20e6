// SPDX-License-Identifier: Apache-2.0

// Package message defines the messages that the daemons write to the system journal.
//
// A Message is an event that administrators look for or act on. It has a fixed text, a
// priority, a MESSAGE_ID, and an explanation in the catalog
// systemd/crypto-auditing.catalog, which journalctl -x shows. Log it with its fields:
//
//	message.LossesBegan.Log(log, "reason", "ring-full", "lost_events", 12)
//
// Other events need no Message: call log.Info, log.Warn etc. with a text. Keys of fields
// are in lower case, as in log/slog; the journal shows them in upper case
// (REASON=ring-full). An error has the key "error" and follows the text. The comment at
// each Message lists its fields; the catalog may refer to them as @REASON@.
//
// To add a Message, add the constant with its fields, a line of the table with a new id
// (systemd-id128 new), and an entry of the catalog; a test compares the two. Never reuse
// an id for another event.
package message

import (
	"context"
	"log/slog"
)

// Levels in addition to those of log/slog, in the order of the priorities of syslog(3).
const (
	LevelNotice   = slog.Level(2)
	LevelCritical = slog.Level(12)
)

// Message is an event with a MESSAGE_ID.
type Message uint8

// The messages.
const (
	// Recording: the agent started to record. log_dir, libraries.
	Recording Message = iota
	// Stopped: the agent stopped cleanly. recorded_hits, recorded_events, groups, chunks.
	Stopped
	// NotRecording: no library is attached, so nothing is recorded.
	NotRecording
	// ServiceFailed: a daemon exits with an error, or cannot start. error.
	ServiceFailed
	// Reloaded: the new configuration is in effect.
	Reloaded
	// ReloadFailed: the configuration was not, or only partly, applied. error.
	ReloadFailed
	// RestartNeeded: changed settings take effect after a restart. keys.
	RestartNeeded
	// Deprecated: the configuration has a value that will become an error. file, line,
	// key, replacement.
	Deprecated

	// LibraryAttached: a library is being recorded. library, sites, probes.
	LibraryAttached
	// LibraryDetached: a library is no longer recorded. library.
	LibraryDetached
	// LibraryReplaced: another file took a library's path. library; from and to if hits
	// of the new file may be missing.
	LibraryReplaced
	// LibraryModified: a library was overwritten in place. library.
	LibraryModified
	// LibraryFailed: a library, or some of its sites, cannot be recorded.
	// library, error.
	LibraryFailed

	// LossesBegan: events are being lost. reason, lost_hits, lost_events.
	LossesBegan
	// LossesEnded: no further events are lost. lost_hits, lost_events.
	LossesEnded
	// DiskFull: the disk is full. reason, error.
	DiskFull
	// WriteFailed: the log cannot be written for another reason. reason,
	// error.
	WriteFailed
	// LogRecovered: writing the log works again.
	LogRecovered
	// SyncFailed: written entries may not be on the disk. first, last, error.
	SyncFailed

	// SegmentDamaged: a segment is damaged. segment, error.
	SegmentDamaged
	// SegmentUnreadable: a segment cannot be read. segment, error.
	SegmentUnreadable
	// SegmentForeign: a file with the name of a segment does not belong to the log, or
	// cannot be read. segment, error.
	SegmentForeign
	// SegmentDeleted: another program deleted a segment. segment.
	SegmentDeleted
	// DirectoryReplaced: another program removed or replaced the directory of the log.
	// directory.
	DirectoryReplaced
	// SegmentsRemoved: the agent removed the oldest segments. user, policy, first, last,
	// bytes.
	SegmentsRemoved
	// LimitsSuspended: the limits of the log would remove all of it at once and are not
	// applied. limits, segments, bytes, remedy.
	LimitsSuspended
	// LimitsApply: suspended limits apply again.
	LimitsApply
	// DownTime: nothing was recorded between two runs of the agent. from, to, reason.
	DownTime

	// ContextKeyRenewed: the key of context ids was replaced.
	ContextKeyRenewed
	// PipelineStuck: the agent does not answer the watchdog. since.
	PipelineStuck

	// LogUnreadable: the broker cannot read the log. error.
	LogUnreadable
	// LogReadable: the broker can read the log again.
	LogReadable
	// StateDamaged: the broker's list of subscriptions was damaged. file, error.
	StateDamaged
	// SubscriptionFailed: a subscription is not served. subscription, error.
	SubscriptionFailed
	// InventoryDamaged: the database of the inventory was damaged and set aside. file, error.
	InventoryDamaged
	// NoBus: the broker serves without the system bus. error.
	NoBus

	messages int = iota
)

// properties are the constant parts of a message.
type properties struct {
	id    string
	level slog.Level
	text  string
}

func (m Message) properties() properties {
	return [messages]properties{
		Recording:     {"43156a7ea7e240b98cc7929c386a841a", slog.LevelInfo, "recording"},
		Stopped:       {"b0aa3a5587d64579aa1c77fe6dc65438", slog.LevelInfo, "stopped"},
		NotRecording:  {"8cb96d37576e4ad990cfe4d2ba3181ab", slog.LevelWarn, "nothing is recorded: no library with probes was found; waiting for one"},
		ServiceFailed: {"e6e2ffe4e4c346bfa50877e420fca789", slog.LevelError, "the service failed"},
		Reloaded:      {"511b8b38a62d405db580b227fa441bf1", LevelNotice, "the new configuration is in effect"},
		ReloadFailed:  {"1e47c84a054b4e5e822c813a7f6a6a95", slog.LevelError, "cannot reload the configuration"},
		RestartNeeded: {"7ea981ba3c9c402eabf028c30518081d", slog.LevelWarn, "changed settings take effect only after a restart"},
		Deprecated:    {"2b2556f99d234733888880c37cacdf4c", slog.LevelWarn, "the configuration uses a form that will become an error"},

		LibraryAttached: {"b947587ab7f644e7985d36a23d3fe7cc", slog.LevelInfo, "attached"},
		LibraryDetached: {"76ddb8c7b17b48768fdf958e709f8c3c", slog.LevelInfo, "detached"},
		LibraryReplaced: {"b178195c570448f194f42a138fa5d171", LevelNotice, "a library was replaced; programs that use the old file are still recorded"},
		LibraryModified: {"077e2e255e1b49c6bbcd4779cca00813", slog.LevelWarn, "a library was overwritten in place"},
		LibraryFailed:   {"0760ddfca8ff427b83651b70cbbc975b", slog.LevelWarn, "cannot record a library, or not all of it"},

		LossesBegan:  {"8b388d78ad5947a18344fe5624e02694", slog.LevelWarn, "events are being lost"},
		LossesEnded:  {"651121658ea247f3b6d85cdcdb8553d4", LevelNotice, "no further events are lost"},
		DiskFull:     {"19c33cd9789a43c398d4451ec9e476b1", slog.LevelError, "the disk is full; events are lost and counted"},
		WriteFailed:  {"2533c63742674a638a2eedc1665778be", slog.LevelError, "cannot write the log; events are lost and counted"},
		LogRecovered: {"610aaa43388e43d98acab2097927b8f4", LevelNotice, "the log accepts events again"},
		SyncFailed:   {"d9a189f4c5294330978234b773ffc5d8", slog.LevelError, "recorded events may be lost: the disk did not confirm them"},

		SegmentDamaged:    {"92df7b2412364fce8882feb9ea7efeb8", slog.LevelError, "a segment of the log is damaged"},
		SegmentUnreadable: {"d089466029414a61a9e3d96dbef2af16", slog.LevelError, "a segment of the log cannot be read"},
		SegmentForeign:    {"aa6bf9ed0ddd4037a4420d61e5bf63b2", slog.LevelWarn, "a file in the log directory is skipped"},
		SegmentDeleted:    {"0b6c31e0edc046199002dd2d75db20e1", slog.LevelError, "another program deleted a segment of the log"},
		DirectoryReplaced: {"7403d6fdfe6541f085eae1bad0ffdf27", slog.LevelError, "another program removed or replaced the directory of the log"},
		SegmentsRemoved:   {"3f4448158474484bb410fd0b1a94c827", LevelNotice, "removed the oldest segments of the log"},
		LimitsSuspended:   {"5867932f2da243f298f286692109d91d", slog.LevelError, "limits of the log are suspended, since they would remove the whole log at once"},
		LimitsApply:       {"859383c662874e1983598e4ba3c43168", LevelNotice, "the limits of the log apply again"},
		DownTime:          {"259036e7a7a24b598d0d70be39760d47", slog.LevelWarn, "nothing was recorded for a time"},

		ContextKeyRenewed: {"4cd6dd9e7452491caa0d7d2a1a3a9efe", slog.LevelInfo, "the context key was renewed; open contexts end"},
		PipelineStuck:     {"221e368b1e5a4a4c885ac3cb56c9d2c7", slog.LevelError, "the recording pipeline does not respond"},

		LogUnreadable:      {"2099373115764ac4b13736b069791e91", slog.LevelError, "cannot read the log"},
		LogReadable:        {"4330fff3d1444d2a96d687196d8550fc", LevelNotice, "the log can be read again"},
		StateDamaged:       {"3edc1b07134c4b54ae78540c3ecc6c40", slog.LevelError, "the state of subscriptions was damaged and set aside; durable subscriptions continue at the newest entry"},
		SubscriptionFailed: {"bfa6d34149e8406a887d2e3bf78928f6", slog.LevelError, "a subscription is not served"},
		InventoryDamaged:   {"9e35d70aef704b34a833e66c950edcd7", slog.LevelError, "the database of the inventory was damaged and set aside; the log is counted from its oldest entry on"},
		NoBus:              {"ae01965c74554164833faac34f4856e7", slog.LevelWarn, "there is no system bus; only clients of the varlink socket are served"},
	}[m]
}

// ID returns the MESSAGE_ID: 32 hexadecimal digits.
func (m Message) ID() string { return m.properties().id }

// Level returns the message's level; Priority converts it for syslog(3).
func (m Message) Level() slog.Level { return m.properties().level }

// Text returns the fixed text of the message.
func (m Message) Text() string { return m.properties().text }

// Log logs the message with fields as in slog.Logger.Log.
func (m Message) Log(log *slog.Logger, fields ...any) {
	p := m.properties()
	log.With(slog.String(idKey, p.id)).Log(context.Background(), p.level, p.text, fields...)
}

// idKey is the key of a message's id in a record. Only the journal receives it.
const idKey = "MESSAGE_ID"

// All returns all messages.
func All() []Message {
	all := make([]Message, messages)
	for i := range all {
		all[i] = Message(i)
	}
	return all
}

// Priority returns the priority of syslog(3) for a level.
func Priority(l slog.Level) int {
	switch {
	case l >= LevelCritical:
		return 2
	case l >= slog.LevelError:
		return 3
	case l >= slog.LevelWarn:
		return 4
	case l >= LevelNotice:
		return 5
	case l >= slog.LevelInfo:
		return 6
	}
	return 7
}
