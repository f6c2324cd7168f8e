package main

import (
	"encoding/json"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/report"
)

// loggedRun makes a run folder with a log of a few steps.
func loggedRun(t *testing.T, name string, seed uint64) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	log, err := report.OpenLog(filepath.Join(folder, "log.jsonl"), 0, report.Header{Objective: "mlm", Seed: seed, Configuration: map[string]any{"seed": seed, "same": 1}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for step := int64(10); step <= 50; step += 10 {
		log.Write(report.Step{Step: step, Phase: "mlm", Loss: 5 / float64(step), TokensPerS: 100, Seconds: float64(step)})
	}
	log.Write(report.Eval{Step: 50, Phase: "mlm", Loss: 1})
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestReportComparesRuns(t *testing.T) {
	one, two, dir := loggedRun(t, "one", 1), loggedRun(t, "two", 2), t.TempDir()
	page, picture := filepath.Join(dir, "compare.html"), filepath.Join(dir, "compare.png")
	var result struct{ File, PNG string }
	if err := json.Unmarshal([]byte(must(t, "report", "--json", "--out", page, "--png", picture, one, two)), &result); err != nil || result.File != page || result.PNG != picture {
		t.Fatalf("%v: %+v", err, result)
	}
	if html, err := os.ReadFile(page); err != nil || !strings.Contains(string(html), "Comparison") {
		t.Errorf("the page: %v", err)
	}
	file, err := os.Open(picture)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if c, err := png.DecodeConfig(file); err != nil || c.Width < 1000 {
		t.Errorf("the picture: %v, %+v", err, c)
	}
	if text := must(t, "report", "--png", picture, one); !strings.Contains(text, "report.html is written") || !strings.Contains(text, picture+" is written") {
		t.Errorf("says %q", text)
	}
	refuses(t, 3, []string{"no run folder"}, "report", "/nowhere/at/all")
	refuses(t, 6, []string{"report"}, "report", "--png", "/nowhere/at/all/x.png", one)
}
