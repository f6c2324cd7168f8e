package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"palimpsest/engine/fault"
	"palimpsest/engine/shad"
	"palimpsest/engine/shard"
)

// Agreement counts tokens by their gold class and the one to be judged; boilerplate is what is looked for.
type Agreement struct {
	Documents   int64       `json:"documents"`
	Tokens      int64       `json:"tokens"`      // with both classes
	Counts      [2][2]int64 `json:"counts"`      // by gold class and judged class: 0 boilerplate, 1 reasoning
	Precision   float64     `json:"precision"`   // of boilerplate
	Recall      float64     `json:"recall"`      // of boilerplate
	F1          float64     `json:"f1"`          // of boilerplate
	Accuracy    float64     `json:"accuracy"`    // share of equal classes
	Balanced    float64     `json:"balanced"`    // mean of the recalls of both classes
	Chance      float64     `json:"chance"`      // precision of calling everything boilerplate
	Boilerplate float64     `json:"boilerplate"` // share of all judged tokens that are called so
	// AUC is the chance that the loss of a known reasoning token grew more than that of a known boilerplate token.
	AUC float64 `json:"auc"`
}

// agree judges the plane 'class' of a data set. What is known is in the planes 'class' of two copies of it, made with 'data
// annotate --plane class' from what is boilerplate and from what is not: a token that the first calls boilerplate is, else one that
// the second calls so is reasoning, and the others, which nobody knows, do not count.
func agree(args []string) error {
	flags := flag.NewFlagSet("experiments agree", flag.ContinueOnError)
	judged := flags.String("data", "", "data set `FOLDER` whose classes are judged")
	scores := flags.String("scores", "", "`FOLDER` of 'palimpsest shad score': losses of both models")
	boilerplate := flags.String("boilerplate", "", "copy `FOLDER` where known boilerplate is called so")
	reasoning := flags.String("reasoning", "", "copy `FOLDER` where known reasoning (and maybe boilerplate) is called boilerplate")
	if err := flags.Parse(args); err != nil {
		return fault.Usage.Wrap(err)
	}
	a, err := compareClasses(*scores, *judged, *boilerplate, *reasoning)
	if err != nil {
		return err
	}
	line, err := json.Marshal(a)
	if err == nil {
		fmt.Println(string(line))
	}
	return err
}

// compareClasses reads the three data sets and the losses side by side.
func compareClasses(scores string, dirs ...string) (a Agreement, err error) {
	var losses [2]*shad.LossReader
	for i, name := range []string{"nll-model", "nll-tuned"} {
		if losses[i], err = shad.ReadLosses(filepath.Join(scores, name)); err != nil {
			return a, err
		}
		if losses[i] == nil {
			return a, fault.Data.Errorf("%s has no finished losses %s; hint: palimpsest shad score goes on", scores, name)
		}
		defer losses[i].Close()
	}
	var grown [2][]float64 // by known class: by how much losses grew
	var streams []*shard.Stream
	for _, dir := range dirs {
		ds, err := shard.Open(dir)
		if err != nil {
			return a, err
		}
		defer ds.Close()
		s, err := ds.Stream(shard.StreamConfig{Epochs: 1, Planes: []string{"class"}}, shard.Cursor{})
		if err != nil {
			return a, err
		}
		defer s.Close()
		streams = append(streams, s)
	}
	called, answered := int64(0), int64(0)
	for {
		var documents [3]shard.Document
		ended := 0
		for i, s := range streams {
			if documents[i], err = s.Next(); errors.Is(err, io.EOF) {
				ended++
			} else if err != nil {
				return a, err
			}
		}
		if ended == len(streams) {
			break
		}
		for i := range documents {
			if ended > 0 || !slices.Equal(documents[i].Tokens, documents[0].Tokens) {
				return a, fault.Data.Errorf("%s and %s differ at document %d; hint: they must be built from the same files", dirs[0], dirs[i], a.Documents)
			}
		}
		a.Documents++
		growth, err := growthOf(losses, documents[0].Planes["class"])
		if err != nil {
			return a, err
		}
		classes, known, other := documents[0].Planes["class"], documents[1].Planes["class"], documents[2].Planes["class"]
		for k, class := range classes {
			if class > 1 {
				continue
			}
			by := growth[0]
			growth = growth[1:]
			answered++
			if class == 0 {
				called++
			}
			switch {
			case known[k] == 0:
				a.Counts[0][class]++
				grown[0] = append(grown[0], by)
			case other[k] == 0:
				a.Counts[1][class]++
				grown[1] = append(grown[1], by)
			}
		}
	}
	a.rates()
	a.Boilerplate, a.AUC = share(called, answered), auc(grown[0], grown[1])
	return a, nil
}

// growthOf reads the next document's losses, which are those of its tokens with a class.
func growthOf(losses [2]*shad.LossReader, classes []byte) (growth []float64, err error) {
	n := 0
	for _, class := range classes {
		if class <= 1 {
			n++
		}
	}
	base, err := losses[0].Next(nil, n)
	if err != nil {
		return nil, err
	}
	tuned, err := losses[1].Next(nil, n)
	for i := range tuned {
		growth = append(growth, float64(tuned[i])-float64(base[i]))
	}
	return growth, err
}

// auc is the chance that a number of high is above one of low; equal ones count half.
func auc(low, high []float64) float64 {
	slices.Sort(low)
	sum := 0.0
	for _, v := range high {
		first, _ := slices.BinarySearch(low, v)
		last := first
		for last < len(low) && low[last] == v {
			last++
		}
		sum += float64(first+last) / 2
	}
	return sum / max(1, float64(len(low))*float64(len(high)))
}

// rates fills in what follows from the counts.
func (a *Agreement) rates() {
	right, missed, wrong, rest := a.Counts[0][0], a.Counts[0][1], a.Counts[1][0], a.Counts[1][1]
	a.Tokens = right + missed + wrong + rest
	a.Precision, a.Recall = share(right, right+wrong), share(right, right+missed)
	if a.Precision+a.Recall > 0 {
		a.F1 = 2 * a.Precision * a.Recall / (a.Precision + a.Recall)
	}
	a.Accuracy = share(right+rest, a.Tokens)
	a.Balanced = (a.Recall + share(rest, rest+wrong)) / 2
	a.Chance = share(right+missed, a.Tokens)
}

func share(part, of int64) float64 { return float64(part) / float64(max(of, 1)) }
