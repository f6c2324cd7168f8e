package kernels

import "time"

// A Timer is a backend that times queued work by its device's own clock.
type Timer interface {
	// Time is what the function Time says.
	Time(prepare, work func(), samples int) (seconds []float64, how string, err error)
}

// A ProductChooser is a backend whose products can be made by a library or by kernels of this program.
type ProductChooser interface {
	// Library sends products to the library from now on, or to the built-in kernels, and returns the library's name: ""
	// where there is none. A backend must be left with the library in use.
	Library(use bool) string
}

// Time runs work once that is not counted, and then samples times, each after prepare (nil: nothing), which is not counted
// either. It returns the seconds that each run took, by the device's clock where the backend has one, and how they were
// taken: "graph" (replays of a captured graph, between events), "events" (launches between events) or "clock" (of the
// host, until Sync). What fails is the backend's failure.
func Time(b Backend, prepare, work func(), samples int) (seconds []float64, how string, err error) {
	if prepare == nil {
		prepare = func() {}
	}
	if t, ok := b.(Timer); ok {
		return t.Time(prepare, work, samples)
	}
	for i := range samples + 1 {
		prepare()
		if err := b.Sync(); err != nil {
			return nil, "", err
		}
		started := time.Now()
		work()
		err := b.Sync()
		elapsed := time.Since(started).Seconds()
		if err != nil {
			return nil, "", err
		}
		if i > 0 {
			seconds = append(seconds, elapsed)
		}
	}
	return seconds, "clock", nil
}
