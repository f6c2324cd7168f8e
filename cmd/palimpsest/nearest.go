package main

import (
	"strings"

	"github.com/xrash/smetrics"
)

// nearest returns the candidate that a mistyped name most likely meant, or "" when none is close.
func nearest(name string, candidates []string) string {
	name = strings.ToLower(name)
	best, score := "", 0.82 // Jaro-Winkler similarity; below it suggestions mislead more often than they help
	for _, c := range candidates {
		if s := smetrics.JaroWinkler(name, c, 0.7, 4); len(c) > 1 && s > score {
			best, score = c, s
		}
	}
	return best
}
