package objectives

import "iter"

// Corpus is what a run is about, for objectives that need statistics of all of it before they can plan: training and held-out
// documents, in the pieces in which they will be planned, at epoch 0.
type Corpus struct {
	Documents iter.Seq2[Document, error] // may be run through more than once
	Uncut     iter.Seq2[Document, error] // the same documents whole; nil: as they are
	Types     []string                   // of entities in the bio plane, by number; nil: not known
}

// Prepare lets an objective take its statistics of a corpus, where it needs some, and returns what the user should know of
// them. They are a function of the corpus, the settings and the seed, so a resumed run takes the same ones again. Errors are
// those of the documents, and documents that the objective cannot be trained on, with their place.
func Prepare(o Objective, c Corpus) (notes []string, err error) {
	if p, ok := o.(interface {
		prepare(Corpus) ([]string, error)
	}); ok {
		return p.prepare(c)
	}
	return nil, nil
}

// Prepares reports whether Prepare would read the corpus.
func Prepares(o Objective) bool {
	p, ok := o.(interface{ prepares() bool })
	return ok && p.prepares()
}
