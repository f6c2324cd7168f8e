package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"

	"palimpsest/engine/fault"
)

// A point of a trade-off: what was gained, and what stands against it.
type point struct{ gained, price float64 }

// avoided is what 'palimpsest eval avoid' says of a model.
type avoided struct {
	Reduction *float64 `json:"reduction"`
	Clean     *struct {
		BLEU float64 `json:"bleu"`
	} `json:"similarity_where_clean"`
	Signed *struct {
		KL  float64 `json:"kl"`
		Old struct {
			LogMean float64 `json:"log_mean"`
		} `json:"mass_old"`
		New struct {
			LogMean float64 `json:"log_mean"`
		} `json:"mass_new"`
	} `json:"signed"`
}

// curve compares variants at the same gain: along the models of a variant, of which each has another alpha, it interpolates
// linearly, and each curve begins with the old model. What no model reaches has no figure.
func curve(args []string) error {
	flags := flag.NewFlagSet("experiments curve", flag.ContinueOnError)
	words := flags.String("words", "", "`FILE` of eval avoid --words")
	spans := flags.String("spans", "", "`FILE` of eval avoid --data")
	if err := flags.Parse(args); err != nil {
		return fault.Usage.Wrap(err)
	}
	var w, s struct {
		Models []avoided `json:"models"`
	}
	if err := decode(*words, &w); err != nil {
		return err
	}
	if err := decode(*spans, &s); err != nil {
		return err
	}
	similar, drifted := []point{{0, 100}}, []point{{0, 0}}
	for _, m := range w.Models {
		if m.Reduction == nil || m.Clean == nil {
			return fault.Data.Errorf("%s: a model without reduction: the old model writes nothing unwanted; hint: more prompts, or other words", *words)
		}
		similar = append(similar, point{*m.Reduction, 100 * m.Clean.BLEU})
	}
	for _, m := range s.Models {
		if m.Signed == nil {
			return fault.Data.Errorf("%s: a model without figures of signs; hint: eval avoid --data", *spans)
		}
		drifted = append(drifted, point{m.Signed.Old.LogMean - m.Signed.New.LogMean, m.Signed.KL})
	}
	result := map[string]any{"reduction_reached": furthest(similar), "log_mass_reached": furthest(drifted)}
	if v, ok := at(similar, 0.5); ok {
		result["bleu_at_half"] = v
	}
	if v, ok := at(drifted, 0.3); ok {
		result["kl_at_fall"] = v
	}
	line, err := json.Marshal(result)
	if err == nil {
		fmt.Println(string(line))
	}
	return err
}

func furthest(points []point) float64 {
	return slices.MaxFunc(points, byGain).gained
}

func byGain(a, b point) int {
	switch {
	case a.gained < b.gained:
		return -1
	case a.gained > b.gained:
		return 1
	}
	return 0
}

// at interpolates the price at a gain; ok is false beyond the last point.
func at(points []point, gain float64) (price float64, ok bool) {
	points = slices.Clone(points)
	slices.SortStableFunc(points, byGain)
	for i := 1; i < len(points); i++ {
		a, b := points[i-1], points[i]
		if a.gained <= gain && gain <= b.gained {
			if b.gained == a.gained {
				return b.price, true
			}
			return a.price + (b.price-a.price)*(gain-a.gained)/(b.gained-a.gained), true
		}
	}
	return 0, false
}
