// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"time"

	"crypto-auditing/src/internal/boottime"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/message"
)

// noteStart writes to the log that recording starts now, and since when and why nothing
// was recorded before.
func (a *Agent) noteStart() error {
	r := startNotice(a.writer.Previous(), a.bootID, boottime.Now())
	r.Version = a.options.Version
	if err := a.notice(event.AppendRecording(nil, &r), r.Time); err != nil {
		return err
	}
	if r.Since != 0 {
		message.DownTime.Log(a.options.Log, "from", time.Unix(0, r.Since).Format(time.RFC3339),
			"to", time.Now().Format(time.RFC3339), "reason", string(r.Reason))
	}
	// Recording only starts once the notice is durable: if the agent exits before, the
	// next one reports the period without recording. A full disk is reported when
	// something is recorded.
	if _, err := a.writer.Flush(); err != nil {
		a.options.Log.Warn("the start of recording is not yet in the log", "error", err)
	}
	return a.writer.StartRecording()
}

// startNotice returns the notice of a start, derived from the previous writer of the
// store.
func startNotice(previous logstore.Previous, boot [16]byte, at uint64) event.Recording {
	r := event.Recording{State: event.Started, BootID: boot, Time: at, Since: previous.End}
	switch sameBoot := previous.BootID == boot; {
	case previous.End == 0:
	case previous.Orderly && sameBoot:
		r.Reason = event.AgentStopped
	case previous.Orderly:
		r.Reason = event.MachineStopped
	case sameBoot:
		r.Reason = event.AgentKilled
	default:
		r.Reason = event.MachineCrashed
	}
	return r
}

// stopRequested is the reason of a stop by a signal.
const stopRequested = "requested"

// noteStop writes to the log that recording has ended. failure is the cause, nil if the
// stop was requested.
func (a *Agent) noteStop(failure error) {
	r := event.Recording{
		State: event.Stopped, Version: a.options.Version, BootID: a.bootID, Time: boottime.Now(), StopReason: stopRequested,
	}
	if failure != nil {
		r.StopReason = failure.Error()
	}
	if err := a.notice(event.AppendRecording(nil, &r), r.Time); err != nil {
		// Closing the store fails too, and the next agent detects the unclean end.
		a.options.Log.Warn("cannot write the end of recording to the log", "error", err)
	}
}

// notice appends an entry about the log itself.
func (a *Agent) notice(entry []byte, at uint64) error {
	b := logstore.Batch{Entries: entry, First: at, Last: at, Notice: true}
	b.End()
	_, err := a.writer.Append(b)
	return err
}
