package cuda

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// blasltVersions are the majors of cuBLASLt whose interface this package knows, the newest first.
var blasltVersions = []string{"13", "12", "11"}

// blasltPlaces lists what to try to open as cuBLASLt, in order: the file or folder that PALIMPSEST_CUBLASLT names and then
// nothing else; the loader's own paths and a CUDA toolkit's; Python installations, since PyTorch brings the library along.
func blasltPlaces(environ func(string) (string, bool), glob func(string) []string, python func() []string) []string {
	if named, set := environ("PALIMPSEST_CUBLASLT"); set {
		if named == "" {
			return nil
		}
		var list []string
		for _, v := range blasltVersions {
			list = append(list, glob(filepath.Join(named, "libcublasLt.so."+v))...)
		}
		if len(list) > 0 {
			return list
		}
		return []string{named}
	}
	var list []string
	for _, v := range blasltVersions {
		file := "libcublasLt.so." + v
		list = append(list, file)
		list = append(list, glob("/usr/local/cuda*/lib64/"+file)...)
		list = append(list, glob("/usr/local/cuda*/targets/*/lib/"+file)...)
		list = append(list, glob("/opt/cuda/lib64/"+file)...)
	}
	for _, site := range python() {
		for _, v := range blasltVersions {
			for _, folder := range []string{"nvidia/cu" + v, "nvidia/cublas", "nvidia/cublas_cu" + v} {
				list = append(list, glob(filepath.Join(site, folder, "lib", "libcublasLt.so."+v))...)
			}
		}
	}
	seen := map[string]bool{}
	return slices.DeleteFunc(list, func(p string) bool { again := seen[p]; seen[p] = true; return again })
}

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
		const ask = `import site, sysconfig; print("\n".join([sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), site.getusersitepackages()] + site.getsitepackages()))`
		if out, err := exec.Command(python, "-c", ask).Output(); err == nil {
			list = append(list, strings.Fields(string(out))...)
		}
	}
	home, _ := os.UserHomeDir()
	for _, pattern := range []string{"/usr/local/lib/python3*/dist-packages", "/usr/lib/python3/dist-packages", "/usr/local/lib/python3*/site-packages",
		"/usr/lib/python3*/site-packages", "/opt/conda/lib/python3*/site-packages", filepath.Join(home, ".local/lib/python3*/site-packages")} {
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
