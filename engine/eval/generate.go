package eval

import (
	"math"
	"slices"

	"palimpsest/engine/model"
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

// Generate continues a prompt until the end token, MaxTokens, or the end of the model's context. number tells apart the
// prompts of one call, so that each has its own draws. each, when not nil, sees every token as it comes. banned tokens,
// such as padding, are never drawn.
func Generate(d *model.Decoder, prompt []int32, end int32, banned []int32, context int, s Sampling, number uint64, each func(id int32)) (Generation, error) {
	var g Generation
	d.Reset()
	logits, err := d.Extend(prompt)
	draw := philox.New(s.Seed, philox.StreamSample, number, 0)
	for err == nil && len(g.Tokens) < s.MaxTokens {
		id, logProb := s.next(logits, banned, &draw)
		g.LogProb += logProb
		if id == end {
			g.Ended = true
			break
		}
		g.Tokens = append(g.Tokens, id)
		if each != nil {
			each(id)
		}
		if d.Len() == context {
			break
		}
		logits, err = d.Extend([]int32{id})
	}
	return g, err
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
