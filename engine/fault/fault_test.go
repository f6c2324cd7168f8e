package fault

import (
	"errors"
	"fmt"
	"io"
	"testing"
)

func TestKindSurvivesWrapping(t *testing.T) {
	err := fmt.Errorf("outer: %w", Data.Errorf("inner: %w", io.ErrUnexpectedEOF))
	if Of(err) != Data || !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "outer: inner: unexpected EOF" {
		t.Errorf("kind %d, %v", Of(err), err)
	}
	if got := Of(Write.Wrap(err)); got != Data {
		t.Errorf("Wrap replaced a known kind by %d", got)
	}
	if Of(Write.Wrap(io.EOF)) != Write || Of(io.EOF) != Internal || Of(nil) != OK || Write.Wrap(nil) != nil {
		t.Error("plain errors and nil")
	}
}
