package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// A loadMeter tells which share of all processors' time other programs took: the busy time of the system without that of
// the processes that are measured. Both are counted in the same ticks, see proc(5).
type loadMeter struct {
	processes         []int
	total, busy, ours int64
	ok                bool
}

// newLoadMeter begins to count.
func newLoadMeter(processes ...int) *loadMeter {
	m := &loadMeter{processes: append(processes, os.Getpid())}
	m.total, m.busy, m.ours, m.ok = m.read()
	return m
}

// others returns the share since the meter was made; nil where the system does not tell.
func (m *loadMeter) others() *float64 {
	total, busy, ours, ok := m.read()
	if !ok || !m.ok || total <= m.total {
		return nil
	}
	share := max(0, float64((busy-m.busy)-(ours-m.ours))/float64(total-m.total))
	return &share
}

func (m *loadMeter) read() (total, busy, ours int64, ok bool) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, 0, false
	}
	if total, busy, ok = processorTicks(data); !ok {
		return 0, 0, 0, false
	}
	for _, pid := range m.processes {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, 0, 0, false
		}
		ticks, ok := processTicks(data)
		if !ok {
			return 0, 0, 0, false
		}
		ours += ticks
	}
	return total, busy, ours, true
}

// processorTicks reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
func processorTicks(stat []byte) (total, busy int64, ok bool) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return 0, 0, false
	}
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, 0, false
		}
		total += n
		if idle := i == 3 || i == 4; !idle {
			busy += n
		}
	}
	return total, busy, true
}

// processTicks reads utime and stime of /proc/PID/stat, the 14th and 15th field; the second may hold spaces.
func processTicks(stat []byte) (ticks int64, ok bool) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, false
	}
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, false
		}
		ticks += n
	}
	return ticks, true
}
