package eval

import (
	"math"
	"slices"

	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/kernels/philox"
)

// Sampling says how the next token is drawn.
type Sampling struct {
	Temperature float64 // 0: the most likely token
	TopK        int     // only the k most likely; 0: all
	TopP        float64 // only the most likely ones that together reach this probability (Holtzman et al., arXiv 1904.09751); 0 or 1: all
	Seed        uint64
	MaxTokens   int
	// Coupled draws by noise that belongs to the tokens themselves, which changes no probability (the Gumbel-max trick): two
	// models that differ little then write nearly the same, so that their texts can be compared. It costs a random number for
	// every token of the vocabulary.
	Coupled bool
}

// Generation is one continuation.
type Generation struct {
	Tokens  []int32 // without the prompt and without the end token
	LogProb float64 // sum over Tokens and the end token, under the model itself
	Ended   bool    // by the end token, not by a limit
}

// A Writer continues prompts with a causal model.
type Writer struct {
	Backend kernels.Backend
	Weights *model.Weights
	End     int32   // token that ends a text; -1: none
	Banned  []int32 // tokens that are never drawn, such as padding
	Sampling
}

const (
	sideBySide  = 32        // sequences that are continued at a time: enough for the products to run well
	cachedBytes = 512 << 20 // bound of their keys and values
)

// Write continues each prompt until the end token, MaxTokens, or the end of the model's context, and yields what it wrote in the
// order of the prompts. Draws depend on the seed and the prompt's number alone, and so does the text, but for the rounding of
// products of one row and of many.
func (w Writer) Write(prompts [][]int32, yield func(number int, g Generation) error) error {
	longest := 0
	for _, p := range prompts {
		longest = max(longest, len(p))
	}
	length := min(longest+w.MaxTokens, w.Weights.Config.Context)
	most := cachedBytes / model.DecoderBytes(w.Backend, w.Weights.Config, length)
	sequences := max(1, min(len(prompts), sideBySide, int(most)))
	return w.write(model.NewDecoder(w.Backend, w.Weights, sequences, length, longest+sequences), longest+sequences, prompts, yield)
}

// writing is a sequence that is being continued.
type writing struct {
	number int // of the prompt
	draw   philox.Draw
	Generation
}

// write continues as many prompts at a time as the decoder has sequences: where one ends the next one begins. A step takes up to
// capacity tokens.
func (w Writer) write(d *model.Decoder, capacity int, prompts [][]int32, yield func(number int, g Generation) error) error {
	live := make([]*writing, d.Sequences()) // nil: free
	done := map[int]Generation{}            // until those before it are there
	begun, yielded := 0, 0
	for yielded < len(prompts) {
		var tails []model.Tail
		tokens := 0
		for i, s := range live {
			if s != nil {
				tails, tokens = append(tails, model.Tail{Sequence: i, Tokens: s.Tokens[len(s.Tokens)-1:]}), tokens+1
			}
		}
		for i := range live {
			if live[i] != nil || begun == len(prompts) || tokens+len(prompts[begun]) > capacity {
				continue
			}
			live[i] = &writing{number: begun, draw: philox.New(w.Seed, philox.StreamSample, uint64(begun), 0)}
			d.Truncate(i, 0)
			tails, tokens = append(tails, model.Tail{Sequence: i, Tokens: prompts[begun]}), tokens+len(prompts[begun])
			begun++
		}
		err := d.Extend(tails, func(k int, logits []float32) {
			i := tails[k].Sequence
			if s := live[i]; w.over(s, logits, d.Len(i)) {
				done[s.number], live[i] = s.Generation, nil
			}
		})
		if err != nil {
			return err
		}
		for g, ok := done[yielded]; ok; g, ok = done[yielded] {
			delete(done, yielded)
			if err := yield(yielded, g); err != nil {
				return err
			}
			yielded++
		}
	}
	return nil
}

// over draws the next token of a sequence of n tokens and reports whether it was the last.
func (w Writer) over(s *writing, logits []float32, n int) bool {
	id, logProb := w.next(logits, w.Banned, &s.draw)
	s.LogProb += logProb
	if s.Ended = id == w.End; s.Ended {
		return true
	}
	s.Tokens = append(s.Tokens, id)
	return len(s.Tokens) == w.MaxTokens || n == w.Weights.Config.Context
}

// next draws a token and returns its log-probability under the model.
func (s Sampling) next(logits []float32, banned []int32, draw *philox.Draw) (id int32, logProb float64) {
	candidates := make([]int32, 0, len(logits))
	for i := range logits {
		if !slices.Contains(banned, int32(i)) {
			candidates = append(candidates, int32(i))
		}
	}
	better := func(a, b int32) int { // ties go to the smaller id, so that the order is defined
		switch {
		case logits[a] > logits[b]:
			return -1
		case logits[a] < logits[b]:
			return 1
		}
		return int(a - b)
	}
	lse := logSumExp(logits)
	if s.Temperature == 0 {
		id = slices.MinFunc(candidates, better)
		return id, float64(logits[id]) - lse
	}
	if truncated := s.TopK > 0 || s.TopP > 0 && s.TopP < 1; truncated { // sorting a large vocabulary would take longer than a small model
		slices.SortFunc(candidates, better)
	}
	top := float64(logits[slices.MinFunc(candidates, better)])
	if s.TopK > 0 && s.TopK < len(candidates) {
		candidates = candidates[:s.TopK]
	}
	weights := make([]float64, len(candidates))
	total := 0.0
	for i, c := range candidates {
		weights[i] = math.Exp((float64(logits[c]) - top) / s.Temperature)
		total += weights[i]
	}
	if s.TopP > 0 && s.TopP < 1 {
		sum, limit := 0.0, s.TopP*total
		for i, w := range weights {
			if sum += w; sum >= limit {
				weights, total = weights[:i+1], sum
				break
			}
		}
	}
	if s.Coupled {
		id = s.loudest(logits, candidates[:len(weights)], draw)
		return id, float64(logits[id]) - lse
	}
	u := draw.Float64() * total
	pick := len(weights) - 1
	for i, w := range weights {
		if u -= w; u < 0 {
			pick = i
			break
		}
	}
	id = candidates[pick]
	return id, float64(logits[id]) - lse
}

// loudest returns the candidate of the largest logit with its noise.
func (s Sampling) loudest(logits []float32, candidates []int32, draw *philox.Draw) (id int32) {
	noise := make([]float64, len(logits))
	for i := range noise {
		noise[i] = -math.Log(-math.Log(draw.Float64()))
	}
	best := math.Inf(-1)
	for _, c := range candidates {
		if v := float64(logits[c])/s.Temperature + noise[c]; v > best {
			id, best = c, v
		}
	}
	return id
}

func logSumExp(logits []float32) float64 {
	top := float64(slices.Max(logits))
	sum := 0.0
	for _, z := range logits {
		sum += math.Exp(float64(z) - top)
	}
	return top + math.Log(sum)
}
