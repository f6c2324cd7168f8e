//go:build cuda

package kernels

import (
	"embed"
	"path"
	"regexp"
	"strings"

	"palimpsest/cuda"
	"palimpsest/engine/fault"
)

// Compiled kernels: ptx/TARGET/NAME.ptx of NAME.cu, made by `make ptx`. Every family is there for sm_80, which runs on all
// later architectures, and some for newer ones too.
//
//go:embed ptx/*/*.ptx
var compiled embed.FS

var entryLine = regexp.MustCompile(`(?m)^\s*(?:\.visible\s+)?\.entry\s+(\w+)\s*\(`)

// load compiles, for each family, the code that fits the device best, and enters its kernels into the function table. It
// returns the architectures that were chosen.
func (g *gpu) load(about cuda.Info) (string, error) {
	files := map[string][]string{} // family -> targets
	folders, err := compiled.ReadDir("ptx")
	if err != nil {
		return "", fault.Device.Errorf("the kernels of this build: %w", err)
	}
	for _, folder := range folders {
		entries, err := compiled.ReadDir("ptx/" + folder.Name())
		if err != nil {
			return "", fault.Device.Errorf("the kernels of this build: %w", err)
		}
		for _, e := range entries {
			family := strings.TrimSuffix(e.Name(), ".ptx")
			files[family] = append(files[family], folder.Name())
		}
	}
	chosen := map[string]bool{}
	g.functions = map[string]*cuda.Function{}
	for family, targets := range files {
		target := cuda.Target(about.Major, about.Minor, targets)
		if target == "" {
			return "", fault.Device.Errorf("%s: no kernel of %s.cu was built for it, only for %s", about.Capability(), family,
				strings.Join(targets, ", "))
		}
		chosen[target] = true
		code, err := compiled.ReadFile(path.Join("ptx", target, family+".ptx"))
		if err != nil {
			return "", fault.Device.Errorf("the kernels of this build: %w", err)
		}
		module, err := g.device.Load(family, string(code))
		if err != nil {
			return "", err
		}
		for _, m := range entryLine.FindAllSubmatch(code, -1) {
			name := string(m[1])
			if g.functions[name], err = module.Function(name); err != nil {
				return "", err
			}
		}
	}
	var names []string
	for _, folder := range folders {
		if chosen[folder.Name()] {
			names = append(names, folder.Name())
		}
	}
	return strings.Join(names, ", "), nil
}
