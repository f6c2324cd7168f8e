package cuda

import (
	"path/filepath"
	"slices"
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
