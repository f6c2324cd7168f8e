package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/eval"
	"palimpsest/engine/shard"
)

// A classifier of short and long documents, begun with the weights of a language model.
func TestEvalClassify(t *testing.T) {
	shards, base := trained(t, "mlm-cpu-tiny")
	_, err := shard.AddPlane(shards, shard.Plane{Name: "label", Provenance: "test"}, func(d shard.Document) ([]byte, error) {
		labels := make([]byte, len(d.Tokens))
		if len(labels) > 20 {
			for i := range labels {
				labels[i] = 1
			}
		}
		return labels, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "run")
	classifier := append([]string{"train", "--preset", "classify-cpu-tiny", "--data", shards, "--out", out}, smallest...)
	classifier = append(classifier, "--set", "model.classifiers=[{name: long, kind: sequence, classes: 2}]", "--set", "train.init="+base)
	must(t, classifier...)

	var scores eval.Classification
	if err := json.Unmarshal([]byte(must(t, "eval", "classify", "--model", out, "--json")), &scores); err != nil {
		t.Fatal(err)
	}
	if scores.Head != "long" || scores.Rows == 0 || len(scores.Confusion) != 2 || scores.BinaryF1 == nil {
		t.Errorf("%+v", scores)
	}
	if text := must(t, "eval", "classify", "--model", out, "--data", shards); !strings.Contains(text, "head long") || !strings.Contains(text, "Matthews") {
		t.Error(text)
	}
	refuses(t, 2, []string{"no classes", "--objective"}, "eval", "classify", "--model", base)
	refuses(t, 2, []string{"--tokens"}, "eval", "classify", "--model", out, "--tokens", "-1")
}
