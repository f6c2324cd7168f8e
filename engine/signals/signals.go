// Package signals turns the signals of a scheduler or a user into flags that a training loop polls: SIGTERM and SIGINT ask
// it to commit a checkpoint and leave, SIGUSR1 to commit one and go on. A signal never interrupts anything by itself.
package signals

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
)

// Watcher holds the flags. All methods may be used concurrently.
type Watcher struct {
	stopping  atomic.Bool
	save      atomic.Bool
	signalled atomic.Bool // by a signal, not by Stop or the context

	stopOnce sync.Once
	stopped  chan struct{}
	reason   string // written before stopped is closed

	incoming  chan os.Signal
	closeOnce sync.Once
	quit      chan struct{}
	done      chan struct{}
}

// Watch begins to catch signals; from its return on none of SIGTERM, SIGINT, SIGUSR1 and SIGPIPE ends the process, and
// writing to a closed stdout gives an error instead. The end of ctx counts as a request to stop.
func Watch(ctx context.Context) *Watcher {
	w := &Watcher{
		stopped:  make(chan struct{}),
		incoming: make(chan os.Signal, 16),
		quit:     make(chan struct{}),
		done:     make(chan struct{}),
	}
	signal.Notify(w.incoming, caught...)
	go w.loop(ctx)
	return w
}

func (w *Watcher) loop(ctx context.Context) {
	defer close(w.done)
	ended := ctx.Done()
	for {
		select {
		case s := <-w.incoming:
			switch {
			case isSave(s):
				w.save.Store(true)
			case s == os.Interrupt, s == syscall.SIGTERM:
				w.signalled.Store(true)
				w.stop(signalName(s))
			}
		case <-ended:
			w.stop(fmt.Sprint(context.Cause(ctx)))
			ended = nil
		case <-w.quit:
			return
		}
	}
}

// Stopping reports whether the process was asked to leave. It costs one atomic load.
func (w *Watcher) Stopping() bool { return w.stopping.Load() }

// Stopped returns a channel that is closed when the process is asked to leave, for waits that cannot poll.
func (w *Watcher) Stopped() <-chan struct{} { return w.stopped }

// Reason returns what asked first, such as "SIGTERM", or "" while nothing has.
func (w *Watcher) Reason() string {
	select {
	case <-w.stopped:
		return w.reason
	default:
		return ""
	}
}

// Stop asks the process to leave, as a signal would. Later requests, of either kind, change nothing.
func (w *Watcher) Stop() { w.stop("Stop") }

func (w *Watcher) stop(reason string) {
	w.stopOnce.Do(func() {
		w.reason = reason
		w.stopping.Store(true)
		close(w.stopped)
	})
}

// TakeSave reports whether a checkpoint was asked for since it was last called.
func (w *Watcher) TakeSave() bool { return w.save.Load() && w.save.Swap(false) }

// SaveAsked reports whether a checkpoint was asked for that TakeSave has not returned yet.
func (w *Watcher) SaveAsked() bool { return w.save.Load() }

// Close gives the signals back to their default actions. The flags keep their values. When a signal has asked the process
// to leave, further ones stay without effect: a scheduler that sends several must still see the exit code.
func (w *Watcher) Close() {
	w.closeOnce.Do(func() {
		if w.signalled.Load() {
			signal.Ignore(os.Interrupt, syscall.SIGTERM)
		}
		signal.Stop(w.incoming)
		close(w.quit)
		<-w.done
	})
}
