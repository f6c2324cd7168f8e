package cuda

import (
	"fmt"
	"strconv"
	"strings"
)

// Target chooses among the architectures that a kernel was compiled for ("sm_80", "sm_90a") the one for a device of the
// given compute capability, "" when none serves it. PTX for sm_80 runs on every later device; an architecture with the
// suffix a runs on exactly that one, and is preferred there.
func Target(major, minor int, targets []string) string {
	best, bestScore := "", -1
	for _, t := range targets {
		number, specific := strings.CutSuffix(strings.TrimPrefix(t, "sm_"), "a")
		arch, err := strconv.Atoi(number)
		have := 10*major + minor
		if err != nil || arch > have || specific && arch != have {
			continue
		}
		score := 2 * arch
		if specific {
			score++
		}
		if score > bestScore {
			best, bestScore = t, score
		}
	}
	return best
}

// ptxVersions are the first drivers (CUDA versions as major*1000 + minor*10) that compile a PTX version.
var ptxVersions = []struct {
	ptx    string
	driver int
}{
	{"7.0", 11000}, {"7.1", 11010}, {"7.2", 11020}, {"7.3", 11030}, {"7.4", 11040}, {"7.5", 11050}, {"7.6", 11060},
	{"7.7", 11070}, {"7.8", 11080}, {"8.0", 12000}, {"8.1", 12010}, {"8.2", 12020}, {"8.3", 12030}, {"8.4", 12040},
	{"8.5", 12050}, {"8.6", 12070}, {"8.7", 12080},
}

// ptxHeader reads ".version" and ".target" of PTX text, "" where it has none.
func ptxHeader(ptx string) (version, target string) {
	for line := range strings.Lines(ptx) {
		if v, ok := strings.CutPrefix(line, ".version "); ok && version == "" {
			version = strings.TrimSpace(v)
		}
		if v, ok := strings.CutPrefix(line, ".target "); ok {
			target, _, _ = strings.Cut(strings.TrimSpace(v), ",")
			return version, target
		}
	}
	return version, target
}

// unfit says why a device cannot run PTX text, "" when nothing speaks against it. driver is the CUDA version that the
// driver serves.
func unfit(ptx string, major, minor, driver int) string {
	version, target := ptxHeader(ptx)
	if target == "" {
		return "it is no PTX: no .target line"
	}
	if Target(major, minor, []string{target}) == "" {
		return fmt.Sprintf("it was compiled for %s, this device has compute capability %d.%d", target, major, minor)
	}
	for _, v := range ptxVersions {
		if v.ptx == version && driver > 0 && driver < v.driver {
			return fmt.Sprintf("it needs PTX %s, which drivers for CUDA %s and later compile; this driver serves CUDA %s; "+
				"hint: install a newer driver", version, cudaVersion(v.driver), cudaVersion(driver))
		}
	}
	return ""
}

// cudaVersion writes 12040 as 12.4.
func cudaVersion(v int) string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }
