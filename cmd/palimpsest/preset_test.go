package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine"
	"palimpsest/engine/runfile"
	"palimpsest/objectives"
)

func TestPresetsAreValidRunFiles(t *testing.T) {
	names := strings.Join(presetNames(), " ")
	for _, objective := range []string{"clm", "mlm", "antlm", "mslm", "exlm", "tnt", "rft"} {
		for _, target := range []string{"cpu-tiny", "cpu-small", "gpu"} {
			if !strings.Contains(names, objective+"-"+target) {
				t.Errorf("there is no preset %s-%s", objective, target)
			}
		}
	}
	for _, name := range presetNames() {
		content, err := readPreset(name)
		if err != nil {
			t.Fatal(err)
		}
		config := engine.Default()
		loader := runfile.New(&config)
		loader.Decode(name, content)
		loader.Set("data.train=shards")
		loader.Check()
		if err := loader.Err(); err != nil {
			t.Error(err)
		}
		objective, target, _ := strings.Cut(name, "-")
		switch trained := config.Trained(); {
		case len(config.Phases) > 0 && objective == "antlm":
			if !slices.Contains(trained, "clm") || !slices.Contains(trained, "mlm") {
				t.Errorf("%s trains %v", name, trained)
			}
		case len(config.Phases) > 0: // of ExLM, a masked phase first
			if !slices.Equal(trained, []string{"mlm", objective}) {
				t.Errorf("%s trains %v", name, trained)
			}
		case config.Objective != objective || !strings.Contains(strings.Join(objectives.Names(), " "), objective):
			t.Errorf("%s trains %s", name, config.Objective)
		}
		device := "cpu"
		if strings.HasSuffix(target, "gpu") {
			device = "cuda"
		}
		if config.Train.Device != device {
			t.Errorf("%s: device %s", name, config.Train.Device)
		}
		if headline(content) == "" {
			t.Errorf("%s says nothing about itself", name)
		}
	}
}

func TestPresetVerbs(t *testing.T) {
	list := must(t, "preset", "ls")
	for _, name := range presetNames() {
		if !strings.Contains(list, name+" ") {
			t.Errorf("preset ls lacks %s", name)
		}
	}
	shown := must(t, "preset", "show", "mlm-cpu-tiny")
	file := filepath.Join(t.TempDir(), "run.yaml")
	must(t, "preset", "copy", "mlm-cpu-tiny", file)
	copied, err := os.ReadFile(file)
	if err != nil || string(copied) != shown {
		t.Errorf("preset copy and preset show differ (%v)", err)
	}
	refuses(t, 2, []string{"exists already"}, "preset", "copy", "mlm-cpu-tiny", file)
	refuses(t, 6, []string{"no such file"}, "preset", "copy", "mlm-cpu-tiny", filepath.Join(file+"-folder", "run.yaml"))

	var keys struct {
		V    int           `json:"v"`
		Keys []runfile.Key `json:"keys"`
	}
	if err := json.Unmarshal([]byte(must(t, "preset", "keys", "--json")), &keys); err != nil || len(keys.Keys) < 40 {
		t.Errorf("%d keys, %v", len(keys.Keys), err)
	}
	for _, k := range keys.Keys {
		if k.Doc == "" {
			t.Errorf("%s is not documented", k.Path)
		}
	}
}

func TestDocumentsListEveryKeyAndVerb(t *testing.T) {
	keys, errKeys := os.ReadFile("../../engine/RUNFILE.md")
	readme, err := os.ReadFile("../../README.md")
	if err := errors.Join(err, errKeys); err != nil {
		t.Fatal(err)
	}
	if table := must(t, "preset", "keys", "--markdown"); !strings.Contains(string(keys), table) {
		t.Error("the table of engine/RUNFILE.md is not that of 'palimpsest preset keys --markdown'; paste it anew")
	}
	for _, verb := range newApp().Commands {
		if !strings.Contains(string(readme), "`"+verb.Name) {
			t.Errorf("the README does not mention %s", verb.Name)
		}
	}
}
