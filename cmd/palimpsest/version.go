package main

import (
	"runtime/debug"
)

// version is set by the Makefile from git; without it the build's own record serves.
var version string

// buildVersion names the program's version and commit, as far as the build knows them.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	commit, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if commit == "" {
		return "unknown (built without version control)"
	}
	return commit + dirty
}
