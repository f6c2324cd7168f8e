package sweep

import (
	"hash/fnv"
	"math"
	"strconv"

	"palimpsest/kernels/philox"
)

// size is the number of a range's points in a grid, at most maxTrials + 1; 0 when it has none.
func (r Range) size() int {
	switch {
	case len(r.Values) > 0:
		return len(r.Values)
	case r.Points == 0 && len(r.Int) == 2:
		return int(min(max(float64(r.Int[1])-float64(r.Int[0])+1, 0), maxTrials+1))
	}
	return r.Points
}

// point is the i-th point of a range in a grid.
func (r Range) point(i int) string {
	if len(r.Values) > 0 {
		return r.Values[i]
	}
	if len(r.Int) > 0 && r.Points == 0 {
		return strconv.FormatInt(r.Int[0]+int64(i), 10)
	}
	return r.at(float64(i) / math.Max(1, float64(r.Points-1)))
}

// draw is the value that belongs to a number in [0,1).
func (r Range) draw(u float64) string {
	if n := len(r.Values); n > 0 {
		return r.Values[min(int(u*float64(n)), n-1)]
	}
	if len(r.Int) > 0 {
		width := float64(r.Int[1]-r.Int[0]) + 1
		return strconv.FormatInt(min(r.Int[0]+int64(u*width), r.Int[1]), 10)
	}
	return r.at(u)
}

// at is the place at a share of the way through a range of numbers, for a person to read: floats to four digits.
func (r Range) at(share float64) string {
	switch {
	case len(r.Int) > 0:
		return strconv.FormatInt(r.Int[0]+int64(math.Round(share*float64(r.Int[1]-r.Int[0]))), 10)
	case len(r.LogUniform) > 0:
		lo, hi := r.LogUniform[0], r.LogUniform[1]
		return decimal(math.Exp(math.Log(lo)+share*(math.Log(hi)-math.Log(lo))), lo, hi)
	}
	lo, hi := r.Uniform[0], r.Uniform[1]
	return decimal(lo+share*(hi-lo), lo, hi)
}

// ends are the values that decide whether a range suits its key: all of a list, else the least and the greatest.
func (r Range) ends() []string {
	if len(r.Values) > 0 {
		return r.Values
	}
	return []string{r.at(0), r.at(1)}
}

// decimal rounds to four significant digits, but not beyond the range.
func decimal(v, lo, hi float64) string {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	if err != nil {
		rounded = v
	}
	return strconv.FormatFloat(min(max(rounded, lo), hi), 'g', -1, 64)
}

// combination is the values of a grid's trial (from 1), the last key changing fastest.
func (c *Config) combination(trial int) map[string]string {
	values, rest, keys := map[string]string{}, trial-1, c.keys()
	for i := len(keys) - 1; i >= 0; i-- {
		r := c.Keys[keys[i]]
		values[keys[i]] = r.point(rest % r.size())
		rest /= r.size()
	}
	return values
}

// drawn is the values of a random trial. Each is a function of the sweep's seed, the key's name and the trial's number, so
// that neither more trials nor more keys change it.
func (c *Config) drawn(trial int) map[string]string {
	values := map[string]string{}
	for key, r := range c.Keys {
		name := fnv.New64a()
		name.Write([]byte(key))
		bits := philox.Derive(philox.Derive(c.Seed, name.Sum64()), uint64(trial))
		values[key] = r.draw(float64(bits>>11) / (1 << 53))
	}
	return values
}
