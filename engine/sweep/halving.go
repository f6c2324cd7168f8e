package sweep

import "palimpsest/engine/fault"

// rungs are the steps at which the trials are compared, each a factor after the one before and the last at the end of the
// run: successive halving of Karnin, Koren and Somekh (ICML 2013), as Jamieson and Talwalkar (AISTATS 2016) use it for
// hyper-parameters.
//
// The whole run's length, and with it the schedule of the learning rate, is that of the run file on every rung. A trial is
// stopped at its rung as a preempted run is, and a promoted one goes on from its checkpoint, so that the winner has the
// bits of a run that was never stopped. The price: on the early rungs trials are compared before their rate has come down.
func (h Halving) rungs(total int64) ([]int64, error) {
	first, widest := h.Steps, int64(1)
	for range h.Rungs - 1 {
		if widest > total/int64(h.Factor) {
			return nil, fault.Usage.Errorf("halving: a run of %d steps is too short for %d rungs by a factor of %d; hint: fewer rungs or a longer run",
				total, h.Rungs, h.Factor)
		}
		widest *= int64(h.Factor)
	}
	if first == 0 {
		first = max(1, total/widest)
	}
	if before := widest / int64(h.Factor); first >= (total+before-1)/before {
		return nil, fault.Usage.Errorf("halving.steps: %d is too many: rung %d of %d would be at or after the end of the run at step %d; hint: halving.steps: 0 fits them",
			first, h.Rungs-1, h.Rungs, total)
	}
	list := []int64{first}
	for len(list) < h.Rungs-1 {
		list = append(list, list[len(list)-1]*int64(h.Factor))
	}
	return append(list, total), nil
}

// promoted picks the better 1/factor of the trials that were compared, at least one, in the order of their numbers. Diverged
// trials never go on. rows are ranked.
func (h Halving) promoted(rows []Row) map[int]bool {
	on := map[int]bool{}
	for _, r := range rows[:max(1, len(rows)/h.Factor)] {
		if r.Status != Diverged {
			on[r.Trial] = true
		}
	}
	return on
}
