//go:build cuda

package cuda

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// pythonSites lists folders of Python packages: of the active virtual environment, of what python3 says, and the usual
// ones.
func pythonSites() []string {
	var list []string
	for _, name := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		if prefix := os.Getenv(name); prefix != "" {
			list = append(list, globs(filepath.Join(prefix, "lib/python3*/site-packages"))...)
		}
	}
	if python, err := exec.LookPath("python3"); err == nil {
		const ask = `import site, sysconfig
print(sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), site.getusersitepackages(), *site.getsitepackages(), sep="\n")`
		if out, err := exec.Command(python, "-c", ask).Output(); err == nil {
			list = append(list, strings.Split(strings.TrimSpace(string(out)), "\n")...)
		}
	}
	home, _ := os.UserHomeDir()
	for _, pattern := range []string{
		"/usr/local/lib/python3*/dist-packages", "/usr/lib/python3/dist-packages",
		"/usr/local/lib/python3*/site-packages", "/usr/lib/python3*/site-packages",
		"/opt/conda/lib/python3*/site-packages", filepath.Join(home, ".local/lib/python3*/site-packages"),
	} {
		list = append(list, globs(pattern)...)
	}
	return list
}

// globs lists the files of a pattern, none when the pattern is malformed by an odd path.
func globs(pattern string) []string {
	list, err := filepath.Glob(pattern)
	if err != nil {
		return nil
	}
	return list
}
