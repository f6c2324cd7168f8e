//go:build cuda

package kernels

import "palimpsest/cuda"

var (
	_ Timer          = (*gpu)(nil)
	_ ProductChooser = (*gpu)(nil)
)

// Time takes the time between two events of the device around each run. Work is captured as a graph, so that gaps between
// launches do not count; what cannot be captured is launched each time.
func (g *gpu) Time(prepare, work func(), samples int) (seconds []float64, how string, err error) {
	prepare()
	work() // everything is loaded, the workspace grows
	if err := g.Sync(); err != nil {
		return nil, "", err
	}
	how, run := "graph", work
	graph, err := g.device.Capture(work)
	if err == nil {
		run = func() { g.device.Replay(graph) }
	} else {
		how, g.failure = "events", nil // the capture is spoilt, not the device: if it is, Sync says so
	}
	type interval struct{ from, to *cuda.Event }
	intervals := make([]interval, samples)
	for i := range intervals {
		prepare()
		from := g.device.Record()
		run()
		intervals[i] = interval{from, g.device.Record()}
	}
	if err := g.Sync(); err != nil {
		return nil, "", err
	}
	for _, i := range intervals {
		ms, err := cuda.Elapsed(i.from, i.to)
		if err != nil {
			return nil, "", err
		}
		seconds = append(seconds, ms/1000)
	}
	return seconds, how, nil
}

// Library is ProductChooser's.
func (g *gpu) Library(use bool) string {
	if g.aside == nil {
		g.aside = g.blaslt
	}
	g.blaslt = nil
	if g.aside == nil {
		return ""
	}
	if use {
		g.blaslt = g.aside
	}
	return "cuBLASLt " + g.aside.Version()
}
