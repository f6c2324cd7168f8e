package main

import (
	"os"

	"palimpsest/engine/fault"
)

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// writable fails before hours of work do: it makes the folder when it is missing and tries to write into it.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fault.Write.Errorf("%w; hint: choose a folder that can be written", err)
	}
	f, err := os.CreateTemp(dir, ".palimpsest-*")
	if err != nil {
		return fault.Write.Errorf("%w; hint: choose a folder that can be written", err)
	}
	f.Close()
	return fault.Write.Wrap(os.Remove(f.Name()))
}
