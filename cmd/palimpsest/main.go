// Command palimpsest trains language models from a folder of text, on any CPU: one verb a file, the same habits
// everywhere. `palimpsest help` lists the verbs.
package main

import (
	"os"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
