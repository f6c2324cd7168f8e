package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"palimpsest/engine/fault"
)

// Case is one measured case of a result file.
type Case struct {
	Name  string       `json:"name"`
	Train *TrainResult `json:"train,omitempty"`
	Data  *DataResult  `json:"data,omitempty"`
}

// Table reads the JSON lines of every *.jsonl file of a results folder and returns the newest result of each case as
// Markdown tables.
func Table(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", fault.Data.Errorf("%s holds no result (*.jsonl); hint: make bench", dir)
	}
	slices.Sort(files) // their names begin with the date
	newest := map[string]Case{}
	var order []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", fault.Data.Wrap(err)
		}
		for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
			var c Case
			if err := json.Unmarshal([]byte(line), &c); err != nil || c.Name == "" || (c.Train == nil) == (c.Data == nil) {
				return "", fault.Data.Errorf("%s:%d: want {\"name\": ..., \"train\" or \"data\": ...}: %v", file, i+1, err)
			}
			if _, seen := newest[c.Name]; !seen {
				order = append(order, c.Name)
			}
			newest[c.Name] = c
		}
	}
	var train, data strings.Builder
	for _, name := range order {
		switch c := newest[name]; {
		case c.Train != nil:
			r := c.Train
			fmt.Fprintf(&train, "| %s | %.1f M | %d x %d | %s | %.0f | %.0f %% of %.0f | %.2f of %.2f |\n", name, float64(r.Parameters)/1e6, r.TokensPerStep, r.Length,
				thousands(r.TokensPerS), r.FLOPsPerS/1e9, 100*r.SGEMMShare, r.SGEMM/1e9, float64(r.PeakMemoryBytes)/(1<<30), float64(r.PredictedMemoryBytes)/(1<<30))
		default:
			r := c.Data
			fmt.Fprintf(&data, "| %s | %.1f M | %s | %.0f %% |\n", name, float64(r.Tokens)/1e6, thousands(r.TokensPerS), 100*r.Fill)
		}
	}
	var out strings.Builder
	if train.Len() > 0 {
		out.WriteString("| training step | parameters | tokens x document | tokens/s | GFLOP/s | share of a 1024-cubed product | peak GiB of predicted |\n")
		out.WriteString("| --- | --- | --- | --- | --- | --- | --- |\n" + train.String())
	}
	if data.Len() > 0 {
		out.WriteString("\n| data path, one decoder | tokens | tokens/s | steps full |\n| --- | --- | --- | --- |\n" + data.String())
	}
	return out.String(), nil
}

// thousands writes a rate with three significant digits.
func thousands(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3g M", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.3g k", v/1e3)
	}
	return fmt.Sprintf("%.0f", v)
}
