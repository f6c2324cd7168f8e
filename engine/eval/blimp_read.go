package eval

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// A Pair is a minimal pair: two sentences of which the first is acceptable. The fields are BLiMP's (arXiv 1912.00582).
type Pair struct {
	Good, Bad string
	UID       string // of the set; the file's name where lines have none
	Field     string // of linguistics, "" where it is not said
	Term      string // linguistic phenomenon, "" where it is not said
	PairID    string // the line's number where it has none
	File      string
	Line      int
}

// Place is where the pair stands, for messages.
func (p Pair) Place() string {
	return fmt.Sprintf("%s, line %d (%s, pair %s)", p.File, p.Line, p.UID, p.PairID)
}

// maxPairLine bounds a line of a file of pairs.
const maxPairLine = 1 << 20

// ReadPairs reads the pairs of a file, or of all *.jsonl files of a folder in the order of their names. Every file is one set:
// each line is an object with sentence_good and sentence_bad, and where BLiMP has them UID, field, linguistics_term and pairID;
// other keys are BLiMP's for other ways of scoring and are not read.
func ReadPairs(path string) (pairs []Pair, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fault.Data.Errorf("%w; hint: a folder of *.jsonl files, each line with sentence_good and sentence_bad", err)
	}
	files := []string{path}
	if info.IsDir() {
		if files, err = jsonlFiles(path); err != nil {
			return nil, err
		}
	}
	owner := map[string]string{} // of each set its file
	for _, file := range files {
		set, err := readSet(file)
		if err != nil {
			return nil, err
		}
		uid := set[0].UID
		if other, taken := owner[uid]; taken {
			return nil, fault.Data.Errorf("%s: the set %s is in %s already; hint: UID names a set, and each has a file of its own", file, uid, other)
		}
		owner[uid] = file
		pairs = append(pairs, set...)
	}
	return pairs, nil
}

// jsonlFiles lists a folder's files of pairs.
func jsonlFiles(dir string) (files []string, err error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, fault.Data.Wrap(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".jsonl") && !e.IsDir() {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fault.Data.Errorf("%s has no *.jsonl file; hint: a set of minimal pairs is a file with sentence_good and sentence_bad on each line", dir)
	}
	return files, nil
}

func readSet(file string) ([]Pair, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fault.Data.Wrap(err)
	}
	defer f.Close()
	pairs, line, err := parsePairs(f, strings.TrimSuffix(filepath.Base(file), ".jsonl"))
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		return nil, fault.Data.Wrap(err)
	case err != nil:
		return nil, fault.Data.Errorf("%s, line %d: %w", file, line, err)
	case len(pairs) == 0:
		return nil, fault.Data.Errorf("%s has no pair", file)
	}
	for i := range pairs {
		pairs[i].File = file
	}
	return pairs, nil
}

// parsePairs reads lines; an error is about the line whose number is returned.
func parsePairs(r io.Reader, name string) (pairs []Pair, line int, err error) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxPairLine)
	for scanner.Scan() {
		line++
		raw := bytes.TrimSpace(scanner.Bytes())
		if len(raw) == 0 {
			continue
		}
		p, err := parsePair(raw, name, line)
		if err != nil {
			return nil, line, err
		}
		if len(pairs) > 0 && p.UID != pairs[0].UID {
			return nil, line, fmt.Errorf("UID is %q, but the file's first pair is of %q; hint: a file holds one set", p.UID, pairs[0].UID)
		}
		pairs = append(pairs, p)
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		return nil, line + 1, fmt.Errorf("more than %d bytes", maxPairLine)
	}
	return pairs, line + 1, scanner.Err()
}

// parsePair reads one line.
func parsePair(raw []byte, name string, line int) (Pair, error) {
	var record struct {
		Good   *string         `json:"sentence_good"`
		Bad    *string         `json:"sentence_bad"`
		UID    *string         `json:"UID"`
		Field  string          `json:"field"`
		Term   string          `json:"linguistics_term"`
		PairID json.RawMessage `json:"pairID"`
	}
	if !utf8.Valid(raw) {
		return Pair{}, errors.New("is not UTF-8")
	}
	if err := json.Unmarshal(raw, &record); err != nil {
		var wrong *json.UnmarshalTypeError
		switch {
		case !errors.As(err, &wrong):
			return Pair{}, err
		case wrong.Field == "":
			return Pair{}, fmt.Errorf("want an object with sentence_good and sentence_bad, not JSON of kind %s; hint: one object on each line", wrong.Value)
		}
		return Pair{}, fmt.Errorf("%s: want a string, not JSON of kind %s", wrong.Field, wrong.Value)
	}
	p := Pair{UID: name, Field: record.Field, Term: record.Term, PairID: fmt.Sprint(line), Line: line}
	if id := strings.Trim(string(record.PairID), `"`); id != "" && id != "null" {
		p.PairID = id
	}
	for _, side := range []struct {
		key      string
		sentence *string
	}{{"sentence_good", record.Good}, {"sentence_bad", record.Bad}} {
		if side.sentence == nil {
			return p, fmt.Errorf("pair %s: the key %s is missing", p.PairID, side.key)
		}
		if strings.TrimSpace(*side.sentence) == "" {
			return p, fmt.Errorf("pair %s: %s is empty", p.PairID, side.key)
		}
	}
	p.Good, p.Bad = *record.Good, *record.Bad
	if record.UID != nil {
		if p.UID = *record.UID; p.UID == "" {
			return p, fmt.Errorf("pair %s: UID is empty", p.PairID)
		}
	}
	return p, nil
}
