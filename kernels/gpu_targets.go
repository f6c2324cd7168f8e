//go:build cuda

package kernels

import (
	"strings"

	"palimpsest/cuda"
)

// CompiledFor lists the kernel families that this build carries code of for a device of a compute capability, by the
// architecture they were compiled for. unserved are the families that have none for it.
func CompiledFor(major, minor int) (families map[string][]string, unserved []string) {
	targets, order := map[string][]string{}, []string{}
	folders, err := compiled.ReadDir("ptx")
	if err != nil {
		return nil, nil
	}
	for _, folder := range folders {
		entries, err := compiled.ReadDir("ptx/" + folder.Name())
		if err != nil {
			continue
		}
		for _, e := range entries {
			family := strings.TrimSuffix(e.Name(), ".ptx")
			if targets[family] == nil {
				order = append(order, family)
			}
			targets[family] = append(targets[family], folder.Name())
		}
	}
	families = map[string][]string{}
	for _, family := range order {
		if target := cuda.Target(major, minor, targets[family]); target != "" {
			families[target] = append(families[target], family)
		} else {
			unserved = append(unserved, family)
		}
	}
	return families, unserved
}
