package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/vfs"
)

func evalBlimpCommand() *cli.Command {
	return &cli.Command{
		Name:  "blimp",
		Usage: "accuracy on minimal pairs by causal log-likelihood and by pseudo-log-likelihood",
		Description: example("palimpsest eval blimp --model runs/first --data blimp/",
			"palimpsest eval blimp --model runs/first --data blimp/causative.jsonl --score mlm --out predictions.jsonl") +
			"\n\nEvery *.jsonl file of the folder is a set; its lines have sentence_good and sentence_bad, and may have BLiMP's UID, field, linguistics_term and pairID. " +
			"A pair is right where the good sentence scores higher; equal scores are wrong. clm is the sum of the tokens' log-probabilities given those before them, " +
			"mlm the sum given all others, each masked in turn. Models of exlm answer mlm with what the states of a mask say together. prefix takes what both sentences begin with for a prompt whose tokens see each other both ways, and scores the rest as clm. clm and mlm are given for every model, also for one that was trained for one of them only.",
		Flags: append(modelFlags(),
			&cli.StringFlag{Name: "data", Usage: "`FOLDER` of *.jsonl files, or one of them"},
			&cli.StringFlag{Name: "score", Value: "both", Usage: "clm, mlm or `both`; prefix: what a pair begins with is seen both ways, the rest scored as clm; all"},
			&cli.StringFlag{Name: "label", Value: "auto", Usage: "`WHERE` a masked token is answered: same (its own place), next (the place before it, as mntp trains), or auto (as the run trained)"},
			&cli.StringFlag{Name: "normalize", Value: "none", Usage: "none, or `token` for the mean over a sentence's tokens instead of the sum"},
			&cli.IntFlag{Name: "tokens-per-step", Value: 4096, Usage: "`NUMBER` of packed tokens at a time"},
			&cli.StringFlag{Name: "out", Usage: "JSON lines `FILE` to write, with the scores of every pair"},
			&cli.StringFlag{Name: "against", Usage: "`FILE` that --out wrote for another model on the same pairs: differences of accuracy, with 95% intervals by paired bootstrap"},
		),
		Action: evalBlimp,
	}
}

// scoringOf reads the options of a scoring for a model.
func scoringOf(c *cli.Context, m *engine.Model) (o eval.Scoring, err error) {
	score, label, normalize := c.String("score"), c.String("label"), c.String("normalize")
	trained := trainedFor(m.Config)
	switch label {
	case "auto":
		o.Next = slices.Contains(trained, "mntp") && !slices.Contains(trained, "mlm")
	case "next":
		o.Next = true
	case "same":
	default:
		return o, fault.Usage.Errorf("--label: want auto, same or next, not %q", label)
	}
	switch score {
	case "both", "all":
		o.Causal, o.Masked, o.Prefix = true, true, score == "all"
	case "clm", "mlm", "prefix":
		o.Causal, o.Masked, o.Prefix = score == "clm", score == "mlm", score == "prefix"
	default:
		return o, fault.Usage.Errorf("--score: want clm, mlm, both, prefix or all, not %q", score)
	}
	if o.PerToken = normalize == "token"; !o.PerToken && normalize != "none" {
		return o, fault.Usage.Errorf("--normalize: want none or token, not %q", normalize)
	}
	o.BOS, o.EOS = documentEnds(m)
	if o.BOS < 0 {
		o.BOS = o.EOS // what ends a document stands before the next
	}
	o.Mask = m.Tokenizer.Mask
	if recall := m.Recall(); recall != nil && !o.Next {
		bos, eos := documentEnds(m)
		o.Recall = func(texts, targets [][]int32) ([][]float64, error) {
			whole := make([][]int32, len(texts))
			for i, ids := range texts {
				whole[i] = framed(ids, bos, eos)
			}
			return recall(whole, targets)
		}
	}
	return o, o.Check()
}

func evalBlimp(c *cli.Context) error {
	if err := need(c, "model", "data"); err != nil {
		return err
	}
	if n := c.Int("tokens-per-step"); n < 1 || n > 1<<24 {
		return fault.Usage.Errorf("--tokens-per-step: want 1 to %d, not %d", 1<<24, n)
	}
	if out := c.String("out"); strings.HasSuffix(out, ".jsonl") && sameFolder(filepath.Dir(out), c.String("data")) {
		return fault.Usage.Errorf("--out: %s would be read as a set of %s next time; hint: another folder", out, c.String("data"))
	}
	m, err := openForEval(c)
	if err != nil {
		return err
	}
	defer m.Close()
	o, err := scoringOf(c, m)
	if err != nil {
		return err
	}
	pairs, err := eval.ReadPairs(c.String("data"))
	if err != nil {
		return err
	}
	var other *eval.Predictions
	if file := c.String("against"); file != "" {
		if other, err = eval.ReadPredictions(file, pairs, o.Kinds()); err != nil {
			return err
		}
	}
	capacity := model.Capacity{Tokens: max(m.Config.Model.Context, c.Int("tokens-per-step"))}
	capacity.Rows = capacity.Tokens
	a := model.NewActivations(m.Backend, m.Config.Model, capacity, false)
	encode := func(sentence string) []int32 { return m.Tokenizer.Encode(nil, []byte(sentence)) }
	start := time.Now()
	scored, err := eval.ScorePairs(a, m.Weights, capacity, pairs, encode, o, nil)
	if err != nil {
		return err
	}
	seconds := time.Since(start).Seconds()
	var against *eval.PairsAgainst
	if other != nil {
		compared := other.Against(pairs, scored)
		against = &compared
	}
	if out := c.String("out"); out != "" {
		if err := writePredictions(out, pairs, scored, o.Kinds()); err != nil {
			return err
		}
	}
	notes := []string{}
	if o.Causal || o.Prefix || o.Recall == nil {
		notes = unexpanded(m)
	}
	result := struct {
		Model   string   `json:"model"`
		Step    int64    `json:"step"`
		Trained []string `json:"trained"`
		Scores  []string `json:"kinds"`
		Label   string   `json:"label"`
		eval.PairSummary
		Against *eval.PairsAgainst `json:"against,omitempty"`
		Seconds float64            `json:"seconds"`
		PerS    float64            `json:"pairs_per_second"`
		Notes   []string           `json:"notes"`
	}{m.Dir, m.Step, trainedFor(m.Config), o.Kinds(), map[bool]string{true: "next", false: "same"}[o.Next],
		eval.SummarisePairs(pairs, scored, o.Kinds()), against, seconds, float64(len(pairs)) / max(seconds, 1e-9), notes}
	return show(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s, step %d, trained for %s: %s pairs in %d sets, in %.1f s (%.0f pairs/s)\n", m.Dir, m.Step, strings.Join(result.Trained, ", "),
			count(len(pairs)), len(result.Sets), seconds, result.PerS)
		if o.Masked {
			fmt.Fprintf(w, "masked tokens are answered at %s\n", map[bool]string{true: "the place before them", false: "their own place"}[o.Next])
		}
		writeGroups(w, result.PairSummary, o.Kinds())
		if against != nil {
			writeAgainst(w, *against, o.Kinds())
		}
		writeNotes(w, result.Notes)
	})
}

// sameFolder reports whether two paths are one existing folder.
func sameFolder(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// writeGroups writes a table of accuracies with their standard errors.
func writeGroups(w io.Writer, s eval.PairSummary, kinds []string) {
	widest := 0
	for _, g := range slices.Concat(s.Sets, s.Fields, s.Terms) {
		widest = max(widest, len(g.Name))
	}
	line := func(g eval.PairGroup) {
		fmt.Fprintf(w, "%-*s %7s", widest, g.Name, count(g.Pairs))
		for _, kind := range kinds {
			a := g.Scores[kind]
			fmt.Fprintf(w, "  %6.2f%% +- %.2f", 100*a.Accuracy, 100*a.StdErr)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "\n%-*s %7s", widest, "set", "pairs")
	for _, kind := range kinds {
		fmt.Fprintf(w, "  %15s", kind)
	}
	fmt.Fprintln(w)
	for _, groups := range [][]eval.PairGroup{s.Sets, s.Terms, s.Fields, {s.Overall}} {
		for _, g := range groups {
			line(g)
		}
		if len(groups) > 0 && groups[0].Name != s.Overall.Name {
			fmt.Fprintln(w)
		}
	}
	for _, kind := range kinds {
		if ties := s.Overall.Scores[kind].Ties; ties > 0 {
			fmt.Fprintf(w, "note: %s pairs have equal scores by %s and count as wrong\n", count(ties), kind)
		}
	}
	if s.Overall.Alike > 0 {
		fmt.Fprintf(w, "note: of %s pairs both sentences have the same tokens, so that no score can be right\n", count(s.Overall.Alike))
	}
}

// writeAgainst writes a line for every score that both models have.
func writeAgainst(w io.Writer, a eval.PairsAgainst, kinds []string) {
	for _, kind := range kinds {
		if d, ok := a.Scores[kind]; ok {
			fmt.Fprintf(w, "against %s by %s: %+.2f points, 95%% of resamples from %+.2f to %+.2f; alone right on %s pairs, the other on %s\n",
				a.File, kind, 100*d.Difference, 100*d.Low, 100*d.High, count(d.Better), count(d.Worse))
		}
	}
}

// writePredictions writes a line for every pair, beside the file's place, and renames it.
func writePredictions(path string, pairs []eval.Pair, scored []eval.PairScores, kinds []string) (err error) {
	defer func() { err = fault.Write.Wrap(err) }()
	f, err := os.CreateTemp(filepath.Dir(path), vfs.TempPrefix+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing of that name
	buffered := bufio.NewWriter(f)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	type score struct {
		Good  float64 `json:"good"`
		Bad   float64 `json:"bad"`
		Right bool    `json:"right"`
	}
	for i, p := range pairs {
		scores := map[string]score{}
		for _, kind := range kinds {
			scores[kind] = score{scored[i].Good.Of(kind), scored[i].Bad.Of(kind), scored[i].Right(kind)}
		}
		err = lines.Encode(struct {
			UID    string           `json:"UID"`
			PairID string           `json:"pairID"`
			Good   string           `json:"sentence_good"`
			Bad    string           `json:"sentence_bad"`
			Tokens [2]int           `json:"tokens"`
			Alike  bool             `json:"alike"`
			Scores map[string]score `json:"scores"`
		}{p.UID, p.PairID, p.Good, p.Bad, scored[i].Tokens, scored[i].Alike, scores})
		if err != nil {
			break
		}
	}
	if err == nil {
		err = buffered.Flush()
	}
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
