package engine

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"palimpsest/engine/fault"
)

func TestEveryProcessWritesAnEventFile(t *testing.T) {
	c := tinyConfig(dataset(t, 300), 0)
	c.Phases = []Phase{{Objective: "clm", Steps: 3}, {Objective: "mlm", Steps: 2}}
	c.StopAfter = 2
	run := filepath.Join(t.TempDir(), "run")
	if err := Train(Options{Config: c, Out: run}); fault.Of(err) != fault.Preempted {
		t.Fatal(err)
	}
	mustTrain(t, Options{Config: c, Out: run})
	files, err := filepath.Glob(filepath.Join(run, EventFolder, "events.out.tfevents.*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("files %q, %v", files, err)
	}
	for i, want := range []map[string]int{
		{"loss/train": 2, "loss/clm": 2, "loss/mlm": 0, "grad_norm": 2, "lr": 2, "tokens_per_s": 2},
		{"loss/train": 3, "loss/clm": 1, "loss/mlm": 2, "loss/valid_mlm": 2, "accuracy/train": 3},
	} {
		data, err := os.ReadFile(files[i])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(data, []byte("brain.Event:2")) {
			t.Errorf("file %d does not say its version", i)
		}
		for tag, n := range want {
			if got := bytes.Count(data, []byte(tag+"\x15")); got != n { // the key of the float that follows a tag
				t.Errorf("file %d: %d of %s, want %d", i, got, tag, n)
			}
		}
	}
}
