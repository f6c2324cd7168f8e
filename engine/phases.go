package engine

import (
	"io"
	"math"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/objectives"
)

// stretch is a phase with its place in the run: steps [from, to).
type stretch struct {
	objective string
	mix       objectives.AntLM // of the objective antlm
	from, to  int64
}

// maxPhases bounds a run's phases, repetitions included.
const maxPhases = 4096

// A pass is how one pass over the training documents goes: the share of their tokens that is read, as data.long: cut drops the
// rest of long ones, and the share of a step's tokens that is used, as whole documents leave a rest of it.
type pass struct{ kept, fill float64 }

// passTokens bounds what is packed to measure a pass.
const passTokens = 4 << 20

// measurePass packs the first documents as training does. What is wrong with the data is not said here, but where it is read.
func (j *job) measurePass() pass {
	all := pass{1, 1}
	if j.config.packing() == string(shard.Cut) {
		return all
	}
	c := j.stream()
	c.Epochs = 1
	stream, err := j.data.Stream(c, shard.Cursor{})
	if err != nil {
		return all
	}
	defer stream.Close()
	packer, err := shard.NewPacker(stream, j.packing())
	if err != nil {
		return all
	}
	before, s := shard.PackStats{}, shard.PackStats{}
	for err == nil && s.Tokens < passTokens {
		before = s
		_, err = packer.Next()
		s = packer.Stats()
	}
	if err != nil && err != io.EOF || s.Tokens == 0 {
		return all
	}
	p := pass{kept: float64(s.Tokens) / float64(s.Tokens+s.Dropped), fill: 1}
	if err == io.EOF { // the last step goes on with the next pass
		s = before
	}
	if s.Steps > 0 {
		p.fill = s.Fill
	}
	return p
}

// timetable lays the phases end to end. An epoch is as many steps as one pass over the training documents fills, rounded up
// for the phase as a whole, so that the length of a run is known when it begins and the schedule can end with it. passTokens
// are those of all its steps, were they full; growth is by how much the texts of an objective grow.
func timetable(c *Config, passTokens float64, growth func(objective string) float64) (list []stretch, err error) {
	perStep := float64(c.Data.TokensPerStep) * float64(c.Train.Accumulate)
	at, phases, repeat := int64(0), c.phaseList(), max(1, c.Repeat)
	if int64(len(phases)) > maxPhases/repeat {
		return nil, fault.Usage.Errorf("repeat: %d times %d phases are more than %d", repeat, len(phases), maxPhases)
	}
	for number := range len(phases) * int(repeat) {
		i := number % len(phases)
		p := phases[i]
		n := p.Steps
		if p.Epochs > 0 {
			steps := math.Ceil(p.Epochs * passTokens * growth(p.name()) / perStep)
			if steps > 1<<40 {
				return nil, fault.Usage.Errorf("phases.%d: %g epochs are more than 2^40 steps", i, p.Epochs)
			}
			n = max(1, int64(steps))
		}
		if len(c.Phases) > 0 && at > 1<<41-n {
			return nil, fault.Usage.Errorf("phases.%d: the phases add up to more than 2^41 steps", i)
		}
		list = append(list, stretch{p.name(), c.mixOf(p), at, at + n})
		at += n
	}
	if len(c.Phases) > 0 && c.Train.Steps != 0 && c.Train.Steps != at {
		return nil, fault.Usage.Errorf("train.steps is %d, but the phases add up to %d; hint: train.steps: 0 takes the sum", c.Train.Steps, at)
	}
	return list, nil
}

// factor is the share of the peak rate at a step: of one schedule over all phases, or of the phase's own.
func (j *job) factor(step int64) float64 {
	s := j.config.Schedule
	if !s.Restart {
		return s.Factor(step, j.total)
	}
	p := j.phases[phaseAt(j.phases, step)]
	return s.Factor(step-p.from, p.to-p.from)
}

// phaseAt returns the index of the phase of a step.
func phaseAt(list []stretch, step int64) int {
	for i, s := range list {
		if step < s.to {
			return i
		}
	}
	return len(list) - 1
}
