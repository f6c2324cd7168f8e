//go:build !(linux || darwin || freebsd)

package checkpoint

import (
	"fmt"
	"os"
	"runtime"
)

func lockFile(*os.File) error {
	return fmt.Errorf("run folders cannot be locked on %s", runtime.GOOS)
}
