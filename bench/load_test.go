package bench

import "testing"

func TestTicksOfProc(t *testing.T) {
	total, busy, ok := processorTicks([]byte("cpu  100 2 30 400 5 6 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"))
	if !ok || total != 558 || busy != 153 {
		t.Errorf("%d of %d ticks busy, %v", busy, total, ok)
	}
	ticks, ok := processTicks([]byte("42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 300 20 0 0 20 0 3 0"))
	if !ok || ticks != 320 {
		t.Errorf("%d ticks, %v", ticks, ok)
	}
	for _, damaged := range []string{"", "cpu", "cpu  1 2 3 4 5 6 7 x", "cpus 1 2 3 4 5 6 7 8"} {
		if _, _, ok := processorTicks([]byte(damaged)); ok {
			t.Errorf("%q is taken", damaged)
		}
		if _, ok := processTicks([]byte(damaged)); ok {
			t.Errorf("%q is taken", damaged)
		}
	}
}

func TestLoadMeterIsAShare(t *testing.T) {
	m := loadMeter{processes: []int{-1}, ok: true}
	if m.others() != nil {
		t.Error("a process that does not exist has ticks")
	}
	if share := newLoadMeter().others(); share != nil && !(*share >= 0 && *share <= 1) {
		t.Errorf("share %g", *share)
	}
}
