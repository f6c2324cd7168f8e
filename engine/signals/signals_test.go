//go:build unix

package signals

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
)

const childEnv = "PALIMPSEST_SIGNALS_TEST"

// TestMain doubles as the process whose stdout is a closed pipe: see TestClosedStdout.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(m.Run())
	}
	w := Watch(context.Background())
	defer w.Close()
	for range 100 {
		if _, err := fmt.Println("into the void"); !errors.Is(err, syscall.EPIPE) {
			os.Exit(3)
		}
	}
	if w.Stopping() || w.TakeSave() {
		os.Exit(4)
	}
	os.Exit(42)
}

func send(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		t.Fatal(err)
	}
}

func TestStopSignals(t *testing.T) {
	for s, name := range map[syscall.Signal]string{syscall.SIGTERM: "SIGTERM", syscall.SIGINT: "SIGINT"} {
		w := Watch(context.Background())
		arrived := make(chan os.Signal, 3)
		signal.Notify(arrived, syscall.SIGTERM, syscall.SIGINT)
		if w.Stopping() || w.Reason() != "" {
			t.Fatal("stops before it was asked")
		}
		send(t, s)
		<-w.Stopped()
		send(t, syscall.SIGTERM) // a second one harms nothing
		send(t, syscall.SIGINT)
		for range 3 { // one that came later would meet another test, or its default action
			<-arrived
		}
		signal.Stop(arrived)
		w.Stop()
		if !w.Stopping() || w.Reason() != name {
			t.Errorf("after %s: stopping %t, reason %q", name, w.Stopping(), w.Reason())
		}
		if w.TakeSave() {
			t.Errorf("%s asks for leaving, not for a save", name)
		}
		w.Close()
		w.Close()
		if !w.Stopping() {
			t.Error("Close forgot the flag")
		}
	}
}

func TestSaveSignal(t *testing.T) {
	w := Watch(context.Background())
	defer w.Close()
	send(t, syscall.SIGPIPE)
	if w.TakeSave() {
		t.Error("save asked for by nobody")
	}
	for range 2 {
		send(t, syscall.SIGUSR1)
		for !w.TakeSave() { // it arrives when the kernel and the scheduler have passed it on
			runtime.Gosched()
		}
		if w.TakeSave() {
			t.Error("one request was taken twice")
		}
	}
	if w.Stopping() {
		t.Error("SIGUSR1 or SIGPIPE stopped the run")
	}
}

func TestProgrammaticStopAndContext(t *testing.T) {
	w := Watch(context.Background())
	w.Stop()
	<-w.Stopped()
	if !w.Stopping() || w.Reason() != "Stop" {
		t.Errorf("reason %q", w.Reason())
	}
	w.Close()

	ctx, cancel := context.WithCancelCause(context.Background())
	w = Watch(ctx)
	defer w.Close()
	cancel(errors.New("deadline of the job"))
	<-w.Stopped()
	if w.Reason() != "deadline of the job" {
		t.Errorf("reason %q", w.Reason())
	}
}

func TestClosedStdout(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stdout = stdout
	err = cmd.Run()
	stdout.Close()
	if cmd.ProcessState.ExitCode() != 42 {
		t.Errorf("a closed stdout ended the process: %v", err)
	}
}
