package kernels

import (
	"fmt"
	"strings"
	"testing"
)

// complianceBackends are the implementations that the compliance suite and the golden vectors run on. Files of other
// implementations append to it in an init.
var complianceBackends = []func() Backend{NewRef32, NewRef64}

// forEachBackend runs a subtest on a fresh instance of every backend.
func forEachBackend(t *testing.T, name string, body func(t *testing.T, b Backend)) {
	for _, open := range complianceBackends {
		b := open()
		label := b.Info().Name
		if name != "" {
			label = name + "/" + label
		}
		t.Run(label, func(t *testing.T) { body(t, b) })
		if err := b.Sync(); err != nil {
			t.Errorf("%s: %v", label, err)
		}
		b.Close()
	}
}

// mustPanic runs f and wants a panic whose message contains want.
func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := recover(); got == nil || !strings.Contains(fmt.Sprint(got), want) {
			t.Errorf("panic %v, want one that says %q", got, want)
		}
	}()
	f()
}
