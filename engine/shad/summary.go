package shad

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"palimpsest/engine/fault"
)

// The histogram of differences: bins of histogramWidth nats between -histogramEdge and histogramEdge, and an open one on
// either side.
const (
	histogramEdge  = 4.0
	histogramWidth = 0.25
	histogramBins  = 2 + int(2*histogramEdge/histogramWidth)
)

// A Summary is what classes say over a data set.
type Summary struct {
	Documents   int64   `json:"documents"`
	Boilerplate int64   `json:"boilerplate_tokens"`
	Reasoning   int64   `json:"reasoning_tokens"`
	Cut         int64   `json:"response_tokens_without_class"` // beyond the length that was scored
	OneClass    int64   `json:"documents_of_one_class"`
	Mean        float64 `json:"mean_difference"`
	Zero        int64   `json:"differences_of_zero"`
	Histogram   []int64 `json:"histogram"` // by Bin

	sum    float64
	tokens map[int32]*[2]int64
}

// Add counts the response tokens of a document.
func (s *Summary) Add(ids []int32, differences []float64, classes []byte) {
	if s.tokens == nil {
		s.tokens, s.Histogram = map[int32]*[2]int64{}, make([]int64, histogramBins)
	}
	s.Documents++
	before := s.Boilerplate
	for i, id := range ids {
		n := s.tokens[id]
		if n == nil {
			n = new([2]int64)
			s.tokens[id] = n
		}
		n[classes[i]]++
		if classes[i] == Boilerplate {
			s.Boilerplate++
		} else {
			s.Reasoning++
		}
		s.sum += differences[i]
		if differences[i] == 0 {
			s.Zero++
		}
		s.Histogram[Bin(differences[i])]++
	}
	if own := s.Boilerplate - before; len(ids) > 0 && (own == 0 || own == int64(len(ids))) {
		s.OneClass++
	}
	s.Mean = s.sum / math.Max(1, float64(s.Tokens()))
}

// Bin returns the bin of a difference.
func Bin(difference float64) int {
	k := math.Floor((difference + histogramEdge) / histogramWidth)
	return 1 + int(min(max(k, -1), float64(histogramBins-2)))
}

// BinName says which differences a bin has.
func BinName(bin int) string {
	switch low := float64(bin-1)*histogramWidth - histogramEdge; bin {
	case 0:
		return fmt.Sprintf("below %g", -histogramEdge)
	case histogramBins - 1:
		return fmt.Sprintf("%g and more", histogramEdge)
	default:
		return fmt.Sprintf("%g to %g", low, low+histogramWidth)
	}
}

// BinClass names the class of a bin's differences, by its lower end.
func BinClass(bin int, threshold float64) string {
	if bin > 0 && float64(bin-1)*histogramWidth-histogramEdge >= threshold {
		return "reasoning"
	}
	return "boilerplate"
}

// Tokens is the number of tokens in a class.
func (s *Summary) Tokens() int64 { return s.Boilerplate + s.Reasoning }

// Share is that of boilerplate.
func (s *Summary) Share() float64 { return float64(s.Boilerplate) / math.Max(1, float64(s.Tokens())) }

// Check refuses classes that tell nothing apart.
func (s *Summary) Check() error {
	switch n := s.Tokens(); {
	case n == 0:
		return fault.Data.Errorf("no response token was scored; hint: the plane loss marks responses, see 'palimpsest data inspect'")
	case s.Zero == n:
		return fault.Data.Errorf("the losses of both models are equal on all %d response tokens: the tuned model equals the model; hint: tune with more pairs (shad.shuffle_fraction), more --epochs or a larger optimizer.learning_rate", n)
	case s.Boilerplate == 0 || s.Reasoning == 0:
		return fault.Data.Errorf("all %d response tokens are in one class: %.1f %% boilerplate, %.1f %% reasoning, mean difference %.4g nats; hint: another shad.threshold; tuning that is too long or too fast makes everything worse",
			n, 100*s.Share(), 100*(1-s.Share()), s.Mean)
	}
	return nil
}

// A TokenCount is how often a token is in each class.
type TokenCount struct {
	ID    int32   `json:"id"`
	Text  string  `json:"text"`
	Count int64   `json:"count"` // in the class
	Share float64 `json:"share"` // of its occurrences that are in the class
}

// Top lists the tokens that occur most often in a class, those of equal number by id.
func (s *Summary) Top(class int, most int, text func(id int32) string) []TokenCount {
	list := []TokenCount{}
	for id, n := range s.tokens {
		if n[class] > 0 {
			list = append(list, TokenCount{ID: id, Count: n[class], Share: float64(n[class]) / float64(n[0]+n[1])})
		}
	}
	slices.SortFunc(list, func(a, b TokenCount) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.ID, b.ID)) })
	list = list[:min(most, len(list))]
	for i := range list {
		list[i].Text = text(list[i].ID)
	}
	return list
}

// WriteHistogram prints the histogram with bars, without the empty ends.
func (s *Summary) WriteHistogram(w io.Writer) {
	first, last, most := histogramBins, -1, int64(1)
	for k, n := range s.Histogram {
		if n > 0 {
			first, last, most = min(first, k), k, max(most, n)
		}
	}
	for k := first; k <= last; k++ {
		fmt.Fprintf(w, "%14s %9d %s\n", BinName(k), s.Histogram[k], strings.Repeat("#", int((s.Histogram[k]*50+most-1)/most)))
	}
}

// Percent is Share in percent.
func (t TokenCount) Percent() float64 { return 100 * t.Share }
