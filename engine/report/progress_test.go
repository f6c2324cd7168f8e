package report

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPlainProgressIsOneLineAStep(t *testing.T) {
	var out bytes.Buffer
	p := NewProgress(&out, 100)
	s := testStep(10)
	s.MFU, s.Skipped, s.DataWait, s.LR, s.GradNorm = new(0.4123), 2, 0.003, 3.2e-4, 0.8312
	p.Step(s)
	s.Step, s.Seconds, s.LossParts, s.MFU, s.FLOPsPerS, s.Skipped = 20, s.Seconds+20, nil, nil, 4.56e11, 0
	p.Step(s)
	p.Eval(Eval{Step: 20, Loss: 2, Accuracy: new(0.5), Perplexity: 7.389, Rows: 1204, BaselineAccuracy: new(0.07), BaselineLoss: new(6.25)})
	s.Loss, s.Step = math.NaN(), 100
	p.Step(s)
	p.Close()
	want := "step 10/100  mlm  loss 2.7136  (mlm 0.3333, z 1.4286)  acc 9.9%  norm 0.831  lr 3.20e-4  3.33k tok/s  MFU 41.2%  wait 0.3%  mem 8 GiB  skipped 2\n" +
		"step 20/100  mlm  loss 2.7136  acc 9.9%  norm 0.831  lr 3.20e-4  3.33k tok/s  456 GFLOP/s  wait 0.3%  mem 8 GiB  ETA 2m40s\n" +
		"held-out at step 20: loss 2.0000 (unigram 6.2500)  accuracy 50.0% (unigram 7.0%)  perplexity 7.39  rows 1204\n" +
		"step 100/100  mlm  loss NaN  acc 9.9%  norm 0.831  lr 3.20e-4  3.33k tok/s  456 GFLOP/s  wait 0.3%  mem 8 GiB\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// screen is what a terminal shows after out: only \r, \n and erase-to-end-of-line move or clear.
func screen(t *testing.T, out string, columns int) []string {
	t.Helper()
	rows, at := [][]rune{nil}, 0
	for out != "" {
		if rest, ok := strings.CutPrefix(out, "\x1b[K"); ok {
			last := len(rows) - 1
			rows[last] = rows[last][:min(at, len(rows[last]))]
			out = rest
			continue
		}
		r, n := utf8.DecodeRuneInString(out)
		out = out[n:]
		last := len(rows) - 1
		switch r {
		case '\r':
			at = 0
		case '\n':
			rows, at = append(rows, nil), 0
		case 0x1b:
			t.Fatal("an escape sequence that is not erase-to-end")
		default:
			if at < len(rows[last]) {
				rows[last][at] = r
			} else {
				rows[last] = append(rows[last], r)
			}
			if at++; at >= columns {
				t.Fatalf("the line %q wraps", string(rows[last]))
			}
		}
	}
	var lines []string
	for _, row := range rows {
		lines = append(lines, string(row))
	}
	return lines
}

func TestLiveProgressRewritesOneLine(t *testing.T) {
	for _, columns := range []int{200, 80, 40, 20, 8} {
		var out bytes.Buffer
		p := NewProgress(&out, 100)
		p.width = func() (int, bool) { return columns, true }
		for n := int64(1); n <= 50; n++ {
			s := testStep(n)
			if n == 30 {
				p.Println("a note")
			}
			s.Tokens = n
			p.Step(s)
		}
		p.Close()
		lines := screen(t, out.String(), columns)
		if len(lines) != 3 || lines[0] != "a note" || lines[2] != "" || !strings.Contains(lines[1], "step 50/100"[:min(11, columns-1)]) {
			t.Errorf("%d columns: %q", columns, lines)
		}
		if bar := strings.HasPrefix(lines[1], "[######......]  step"); bar != (columns >= 80) {
			t.Errorf("%d columns: %q", columns, lines[1])
		}
		if columns == 40 && !strings.Contains(lines[1], "loss 1.2603") {
			t.Errorf("the loss must be among the last to go: %q", lines[1])
		}
	}
}

func TestNoTerminalControlInFiles(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := NewProgress(file, 10)
	p.Step(testStep(1))
	p.Println("x")
	p.Close()
	if text := readFile(t, file.Name()); strings.ContainsAny(text, "\r\x1b") || strings.Count(text, "\n") != 2 {
		t.Errorf("%q", text)
	}
}

type brokenPipe struct{ writes int }

func (b *brokenPipe) Write([]byte) (int, error) {
	b.writes++
	return 0, errors.New("broken pipe")
}

func TestProgressFallsSilentWhenNobodyReads(t *testing.T) {
	w := &brokenPipe{}
	p := NewProgress(w, 10)
	p.Step(testStep(1))
	p.Step(testStep(2))
	p.Println("x")
	p.Close()
	if w.writes != 1 {
		t.Errorf("%d writes", w.writes)
	}
}

// TestClosedStandardOutput runs this test binary with a closed pipe as its standard output: the signal must not end it.
func TestClosedStandardOutput(t *testing.T) {
	if os.Getenv("REPORT_TEST_PIPE") != "" {
		if _, err := io.ReadAll(os.Stdin); err != nil { // until the parent has closed its end of the output
			os.Exit(3)
		}
		p := NewProgress(os.Stdout, 10)
		for n := range int64(5) {
			p.Step(testStep(n))
		}
		if !p.quiet {
			os.Exit(4)
		}
		os.Exit(42)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestClosedStandardOutput$")
	cmd.Env = append(os.Environ(), "REPORT_TEST_PIPE=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	read.Close()
	stdin.Close()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 42 {
		t.Errorf("the process ended with %v, want exit code 42", err)
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{decimals(2), "2.0000"}, {decimals(1e-5), "1.00e-5"}, {decimals(math.Inf(-1)), "-Inf"}, {decimals(0), "0.0000"}, {decimals(1e7), "1.00e7"},
		{short(0.0123), "0.0123"}, {short(1.5e-5), "1.50e-5"}, {short(12345), "12345"}, {short(math.Inf(1)), "+Inf"}, {short(0), "0"},
		{quantity(950), "950"}, {quantity(999.9), "1.00k"}, {quantity(12345), "12.3k"}, {quantity(4.56e6), "4.56M"}, {quantity(0), "0"},
		{percent(0.0005), "0.1%"}, {percent(math.NaN()), "NaN"}, {Bytes(812 << 20), "812 MiB"}, {Bytes(1536), "1.50 KiB"},
		{duration(42), "42s"}, {duration(192), "3m12s"}, {duration(5*3600 + 420), "5h07m"}, {duration(51 * 3600), "2d03h"}, {duration(-1), "?"},
		{tickText(5e-4), "5e-4"}, {tickText(2.5e-5), "2.5e-5"}, {tickText(0.15), "0.15"}, {tickText(0.30000000000000004), "0.3"}, {tickText(20000), "20k"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}
