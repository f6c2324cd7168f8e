//go:build cuda

package kernels

import (
	"embed"
	"maps"
	"path"
	"regexp"
	"slices"
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
	families, unserved := CompiledFor(about.Major, about.Minor)
	if len(unserved) > 0 {
		return "", fault.Device.Errorf("%s: this build has no kernels for it of %s", about.Capability(), strings.Join(unserved, ", "))
	}
	g.functions = map[string]*cuda.Function{}
	for target, names := range families {
		for _, family := range names {
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
	}
	return strings.Join(slices.Sorted(maps.Keys(families)), ", "), nil
}
