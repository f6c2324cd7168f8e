package shard

import (
	"errors"
	"io"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/kernels/philox"
)

// shared returns one data set of about 40 frames in 5 shards.
func shared(t testing.TB) (*Dataset, [][]int32) {
	docs := corpus(150, 60, 300, 11)
	return open(t, build(t, docs, small(300))), docs
}

func TestEveryDocumentOnceAnEpoch(t *testing.T) {
	ds, docs := shared(t)
	var orders []string
	for _, c := range []StreamConfig{{Window: 1}, {Window: 5}, {}, {Window: 1000}} {
		c.Epochs, c.Shuffle, c.Seed = 3, true, 9
		got, err := drain(stream(t, ds, c, Cursor{}), 1<<20)
		if err != nil || len(got) != 3*len(docs) {
			t.Fatalf("%d documents, %v", len(got), err)
		}
		for e := range 3 {
			seen := make([]bool, len(docs))
			for _, d := range got[e*len(docs) : (e+1)*len(docs)] {
				if int(d.Epoch) != e || seen[d.ID] || !slices.Equal(d.Tokens, docs[d.ID]) {
					t.Fatalf("window %d, epoch %d: document %d of epoch %d is wrong or repeated", c.Window, e, d.ID, d.Epoch)
				}
				seen[d.ID] = true
			}
			order := ""
			for _, d := range got[e*len(docs) : (e+1)*len(docs)] {
				order += string(rune(d.ID))
			}
			orders = append(orders, order)
		}
	}
	slices.Sort(orders)
	if n := len(slices.Compact(orders)); n != 12 {
		t.Errorf("%d different orders of 12", n)
	}
}

func TestSeedsDiffer(t *testing.T) {
	ds, _ := shared(t)
	a, _ := drain(stream(t, ds, StreamConfig{Epochs: 1, Shuffle: true, Seed: 1}, Cursor{}), 1000)
	b, _ := drain(stream(t, ds, StreamConfig{Epochs: 1, Shuffle: true, Seed: 2}, Cursor{}), 1000)
	if ids(a) == ids(b) {
		t.Error("two seeds gave one order")
	}
}

func TestNaturalOrder(t *testing.T) {
	ds, docs := shared(t)
	got, err := drain(stream(t, ds, StreamConfig{Epochs: 1, Window: 3}, Cursor{}), 1000)
	if err != nil || len(got) != len(docs) {
		t.Fatal(len(got), err)
	}
	for i, d := range got {
		if d.ID != int64(i) {
			t.Fatalf("document %d came at %d", d.ID, i)
		}
	}
}

func TestResumeAtEveryDocument(t *testing.T) {
	ds, _ := shared(t)
	for _, c := range []StreamConfig{
		{Epochs: 2, Window: 4, Shuffle: true, Seed: 5},
		{Epochs: 2, Window: 4, Shuffle: true, Seed: 5, Split: Split{0.02, Valid}}, // many empty windows
		{Epochs: 1, Window: 7, Split: Split{0.3, Train}},
	} {
		s := stream(t, ds, c, Cursor{})
		var cursors []Cursor
		var all []Document
		for {
			cursors = append(cursors, s.Cursor())
			d, err := s.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, d)
		}
		for i, from := range cursors {
			resumed := stream(t, ds, c, from)
			got, err := drain(resumed, 20)
			if err != nil || ids(got) != ids(all[i:min(i+20, len(all))]) {
				t.Fatalf("from %+v: %v, %v", from, ids(got), err)
			}
			resumed.Close()
		}
	}
}

func TestIndependentOfWorkers(t *testing.T) {
	ds, _ := shared(t)
	var first []Document
	for _, procs := range []int{1, 2, 4} {
		old := runtime.GOMAXPROCS(procs)
		got, err := drain(stream(t, ds, StreamConfig{Epochs: 2, Shuffle: true, Seed: 4, Window: 6, Decoders: 2*procs - 1}, Cursor{}), 1000)
		runtime.GOMAXPROCS(old)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		if !reflect.DeepEqual(got, first) {
			t.Errorf("%d processors gave another stream", procs)
		}
	}
}

func TestSplitIsDisjointAndComplete(t *testing.T) {
	ds, docs := shared(t)
	for _, share := range []float64{1e-9, 0.01, 0.5, 0.999999} {
		side := make([]Part, len(docs))
		count := map[Part]int{}
		for _, part := range []Part{Train, Valid} {
			got, err := drain(stream(t, ds, StreamConfig{Epochs: 1, Shuffle: true, Split: Split{share, part}}, Cursor{}), 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range got {
				if side[d.ID] != "" {
					t.Fatalf("share %g: document %d is on both sides or twice", share, d.ID)
				}
				side[d.ID] = part
				count[part]++
			}
		}
		if count[Train] == 0 || count[Valid] == 0 || slices.Contains(side, "") {
			t.Errorf("share %g: %v", share, count)
		}
		if share == 0.5 && (count[Valid] < 50 || count[Valid] > 100) {
			t.Errorf("share %g: %v", share, count)
		}
	}
	draw := philox.New(0, philox.StreamSplit, 17, 0)
	valid, err := ds.Selector(0, Split{0.5, Valid})
	if err != nil || valid(17) != (draw.Float64() < 0.5) {
		t.Error("a document's side is not its draw", err)
	}
}

func TestSplitOfTinySets(t *testing.T) {
	two := open(t, build(t, [][]int32{{1}, {2}}, small(300)))
	for _, part := range []Part{Train, Valid} {
		if got, err := drain(stream(t, two, StreamConfig{Epochs: 1, Split: Split{0.01, part}}, Cursor{}), 9); err != nil || len(got) != 1 {
			t.Errorf("%s: %v, %v", part, got, err)
		}
	}
	one := open(t, build(t, [][]int32{{1}}, small(300)))
	_, err := one.Stream(StreamConfig{Split: Split{0.5, Valid}}, Cursor{})
	wantKind(t, fault.Data, err)
	if got, err := drain(stream(t, one, StreamConfig{Epochs: 1, Split: Split{0.5, Train}}, Cursor{}), 9); err != nil || len(got) != 1 {
		t.Error(got, err)
	}
	for _, bad := range []Split{{0, Valid}, {1, Train}, {-1, All}, {0.5, "test"}} {
		_, err := two.Stream(StreamConfig{Split: bad}, Cursor{})
		wantKind(t, fault.Usage, err)
	}
}

func TestInvalidCursors(t *testing.T) {
	ds, _ := shared(t)
	c := StreamConfig{Epochs: 2, Window: 4, Shuffle: true}
	for _, from := range []Cursor{{Window: -1}, {Window: 1000}, {Document: -1}, {Offset: -1}, {Epoch: 2, Window: 1}, {Epoch: 3}} {
		_, err := ds.Stream(c, from)
		wantKind(t, fault.Data, err)
	}
	for _, from := range []Cursor{{Document: 1000}, {Offset: 1000}} {
		s := stream(t, ds, c, from)
		_, err := s.Next()
		wantKind(t, fault.Data, err)
		_, again := s.Next()
		if again != err {
			t.Error("the error does not repeat")
		}
	}
	if _, err := stream(t, ds, c, Cursor{Epoch: 2}).Next(); err != io.EOF {
		t.Errorf("after the last epoch: %v", err)
	}
	for _, bad := range []StreamConfig{{Window: -1}, {Epochs: -1}, {Decoders: -1}} {
		_, err := ds.Stream(bad, Cursor{})
		wantKind(t, fault.Usage, err)
	}
}

// Close waits for the background work, so the number of goroutines is back at once.
func TestCloseLeaksNothing(t *testing.T) {
	ds, _ := shared(t)
	before := runtime.NumGoroutine()
	for i := range 20 {
		s, err := ds.Stream(StreamConfig{Shuffle: true, Window: 3, Decoders: 3}, Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := drain(s, 7*i); err != nil {
			t.Fatal(err)
		}
		at := s.Cursor()
		s.Close()
		s.Close()
		if s.Cursor() != at {
			t.Errorf("Close moved the cursor from %+v to %+v", at, s.Cursor())
		}
		_, err = s.Next()
		wantKind(t, fault.Usage, err)
	}
	for range 1_000_000 { // a goroutine that is done may need the scheduler once more to disappear
		if runtime.NumGoroutine() <= before {
			return
		}
		runtime.Gosched()
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}
