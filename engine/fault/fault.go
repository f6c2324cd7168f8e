// Package fault gives errors the kind that decides the process's exit code, so that a scheduler knows what to do
// (requeue, retry or fail) without reading the message.
package fault

import (
	"errors"
	"fmt"
)

// A Kind is a class of failure; its value is the exit code of the process.
type Kind int

// The kinds of the command line's contract. An error without a kind is an internal one.
const (
	OK         Kind = 0
	Internal   Kind = 1
	Usage      Kind = 2  // command line or configuration
	Data       Kind = 3  // data set or tokenizer
	Checkpoint Kind = 4  // no usable checkpoint where one was demanded
	Device     Kind = 5  // no such device, or out of its memory
	Write      Kind = 6  // disk full, read-only, file-system error while writing
	Diverged   Kind = 7  // non-finite steps used up
	Peer       Kind = 8  // a device or a peer was lost, or timed out
	Preempted  Kind = 75 // asked to leave; a checkpoint is committed
)

type kindError struct {
	kind Kind
	err  error
}

func (e *kindError) Error() string { return e.err.Error() }
func (e *kindError) Unwrap() error { return e.err }

// Errorf returns an error of this kind; %w wraps as in fmt.Errorf.
func (k Kind) Errorf(format string, args ...any) error {
	return &kindError{k, fmt.Errorf(format, args...)}
}

// Wrap gives err this kind unless it has one already, the innermost knowledge being the best. Wrap(nil) is nil.
func (k Kind) Wrap(err error) error {
	if err == nil || Of(err) != Internal {
		return err
	}
	return &kindError{k, err}
}

// Of returns the kind of err: OK for nil, Internal for an error that was given none.
func Of(err error) Kind {
	if err == nil {
		return OK
	}
	var e *kindError
	if errors.As(err, &e) {
		return e.kind
	}
	return Internal
}
