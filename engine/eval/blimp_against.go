package eval

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"palimpsest/engine/fault"
	"palimpsest/kernels/philox"
)

// PairsAgainst compares two models on the same pairs.
type PairsAgainst struct {
	File   string                    `json:"file"`   // with the other's predictions
	Scores map[string]PairDifference `json:"scores"` // by kind, those that both have
}

// PairDifference is the accuracy of one model less that of another, each the mean over the sets. The interval holds 95 % of the
// differences of a paired bootstrap: the pairs of every set are drawn again with replacement, each with what both models said of it.
type PairDifference struct {
	Difference float64 `json:"difference"`
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Better     int     `json:"better"` // pairs that this model alone gets right
	Worse      int     `json:"worse"`  // pairs that the other alone gets right
}

// resamples of a bootstrap.
const resamples = 2000

// Predictions say which pairs another model has right.
type Predictions struct {
	file  string
	right map[string][]bool // by kind and pair
}

// Against compares scored pairs, those that the predictions are of, with what the other model made of them.
func (p *Predictions) Against(pairs []Pair, scored []PairScores) PairsAgainst {
	against := PairsAgainst{File: p.file, Scores: map[string]PairDifference{}}
	for kind, other := range p.right {
		against.Scores[kind] = pairDifference(pairs, scored, kind, other)
	}
	return against
}

// ReadPredictions reads what another model made of the same pairs in the same order, by those of the kinds of scores that it has.
func ReadPredictions(path string, pairs []Pair, kinds []string) (*Predictions, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Data.Errorf("%w; hint: a FILE that 'palimpsest eval blimp --out FILE' wrote for the other model", err)
	}
	defer f.Close()
	right := map[string][]bool{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4*maxPairLine)
	n, more := 0, false
	for ; lines.Scan(); n++ {
		var p struct {
			Good   string `json:"sentence_good"`
			Bad    string `json:"sentence_bad"`
			Scores map[string]struct {
				Right bool `json:"right"`
			} `json:"scores"`
		}
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil || p.Scores == nil {
			return nil, fault.Data.Errorf("%s, line %d is no prediction; hint: a FILE that 'palimpsest eval blimp --out FILE' wrote", path, n+1)
		}
		if more = n == len(pairs); more || p.Good != pairs[n].Good || p.Bad != pairs[n].Bad {
			break
		}
		for _, kind := range kinds {
			if s, ok := p.Scores[kind]; ok && len(right[kind]) == n {
				right[kind] = append(right[kind], s.Right)
			} else if ok || len(right[kind]) > 0 {
				return nil, fault.Data.Errorf("%s, line %d: the score %s is not on every line", path, n+1, kind)
			}
		}
	}
	var broken *fs.PathError
	if err := lines.Err(); errors.As(err, &broken) {
		return nil, fault.Data.Wrap(err)
	} else if err != nil {
		return nil, fault.Data.Errorf("%s, line %d: %w", path, n+1, err)
	}
	if n < len(pairs) || more {
		place := "it has more"
		if !more {
			place = pairs[n].Place() + " is not in its place there"
		}
		return nil, fault.Data.Errorf("%s has other pairs than those that are scored: %s; hint: --data as for the other model", path, place)
	}
	if len(right) == 0 {
		return nil, fault.Data.Errorf("%s has none of the scores that are compared: %s", path, strings.Join(kinds, ", "))
	}
	return &Predictions{path, right}, nil
}

// pairDifference compares by one kind of score.
func pairDifference(pairs []Pair, scored []PairScores, kind string, other []bool) (d PairDifference) {
	type set struct{ pairs, better, worse int }
	var sets []set
	for i, p := range scored {
		if i == 0 || pairs[i].UID != pairs[i-1].UID {
			sets = append(sets, set{})
		}
		s := &sets[len(sets)-1]
		s.pairs++
		switch own := p.Right(kind); {
		case own && !other[i]:
			s.better++
		case other[i] && !own:
			s.worse++
		}
	}
	for _, s := range sets {
		d.Better, d.Worse = d.Better+s.better, d.Worse+s.worse
		d.Difference += float64(s.better-s.worse) / float64(s.pairs) / float64(len(sets))
	}
	differences := make([]float64, resamples)
	for r := range differences {
		draw := philox.New(1, philox.StreamSample, uint64(r), 0)
		for _, s := range sets {
			sum := 0
			for range s.pairs {
				switch i := draw.IntN(s.pairs); { // its pairs in the order better, worse, no difference
				case i < s.better:
					sum++
				case i < s.better+s.worse:
					sum--
				}
			}
			differences[r] += float64(sum) / float64(s.pairs) / float64(len(sets))
		}
	}
	slices.Sort(differences)
	d.Low, d.High = differences[resamples/40], differences[resamples-1-resamples/40]
	return d
}
