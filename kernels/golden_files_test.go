package kernels

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// goldenSections are the files of independent vectors, the lists in each, and the tests that read them.
var goldenSections = map[string]map[string]string{
	"attention":      {"cases": "kernels: GoldenAttention, GoldenAttentionUnfused"},
	"exlm_dag":       {"cases": "kernels: GoldenAlignment", "batches": "kernels: GoldenAlignmentBatches", "ctc_cases": "kernels: GoldenAlignmentCTC"},
	"exlm_expand":    {"special": "objectives", "cases": "objectives", "error_cases": "objectives"},
	"exlm_links":     {"cases": "kernels: GoldenLinks"},
	"exlm_rope2d":    {"cases": "kernels: GoldenRope"},
	"masked_softmax": {"cases": "kernels: GoldenMaskedSoftmax"},
	"mslm_weights":   {"weights": "objectives: MSLMGolden", "effective": "objectives: MSLMGolden", "loss": "objectives: MSLMGolden"},
	"shad": {"ld": "engine/shad: GoldenDifferences", "rft": "kernels: GoldenReweigh; objectives: SHADGolden",
		"batches": "kernels: GoldenReweigh; objectives: SHADGolden", "rho1": "kernels: GoldenReweigh; objectives: SHADGolden"},
	"tnt": {"cases": "kernels: GoldenReferenceKL; objectives: TNTGolden", "official": "kernels: GoldenReferenceKLOfficial; objectives",
		"annotation": "engine/text: GoldenAnnotations", "spans": "engine/text: GoldenAnnotations"},
	"weighted_ce": {"cases": "kernels: GoldenCrossEntropy"},
}

// Every file and every list of the folder in use is read by some test, and none that tests read is missing. The folder here
// has a part of the files, the packages' folders together have all.
func TestGoldenFilesAreRead(t *testing.T) {
	folders := []string{goldenFolder()}
	if os.Getenv("PALIMPSEST_GOLDEN") == "" {
		var err error
		if folders, err = goldenCopies(); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			name := strings.TrimSuffix(filepath.Base(file), ".json")
			known, ok := goldenSections[name]
			if !ok {
				t.Errorf("no test reads %s", file)
				continue
			}
			seen[name] = true
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var sections map[string]json.RawMessage
			if err := json.Unmarshal(raw, &sections); err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			for section, value := range sections {
				if value[0] == '"' { // a text about the file
					continue
				}
				if known[section] == "" {
					t.Errorf("%s: no test reads its section %s", file, section)
				}
			}
			for section := range known {
				if len(sections[section]) == 0 {
					t.Errorf("%s lacks the section %s", file, section)
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(goldenSections)) {
		if !seen[name] {
			t.Errorf("%s.json is missing in %s", name, strings.Join(folders, ", "))
		}
	}
}

// goldenCopies lists the packages' folders of golden vectors.
func goldenCopies() (folders []string, err error) {
	for _, pattern := range []string{"../*/testdata/golden", "../*/*/testdata/golden"} {
		found, err := filepath.Glob(filepath.FromSlash(pattern))
		if err != nil {
			return nil, err
		}
		for _, folder := range found {
			if !strings.HasPrefix(filepath.ToSlash(folder), "../bin/") { // what gpu-pack carries
				folders = append(folders, folder)
			}
		}
	}
	return folders, nil
}

// Copies of a file in several packages are the same file.
func TestGoldenCopiesAgree(t *testing.T) {
	folders, err := goldenCopies()
	if err != nil || len(folders) < 2 {
		t.Fatal(folders, err)
	}
	first := map[string]string{}
	contents := map[string][]byte{}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Base(file)
			if other, ok := first[name]; !ok {
				first[name], contents[name] = file, raw
			} else if !bytes.Equal(raw, contents[name]) {
				t.Errorf("%s is not %s", file, other)
			}
		}
	}
}
