package shad

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"

	"github.com/cespare/xxhash/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

const lossesFormat = 1

// Scored identifies what a file of losses holds, and how far it has come. The file NAME.f32 has the losses of the response
// tokens, float32, little-endian, in the order of documents; Scored is in NAME.json beside it.
type Scored struct {
	Format    int    `json:"format"`
	Model     string `json:"model"`     // hash of the weights
	Path      string `json:"path"`      // of the model, for people
	Data      string `json:"data"`      // hash of tokens and responses
	Tokenizer string `json:"tokenizer"` // hash
	Length    int    `json:"length"`    // tokens of a document that are seen
	Compute   string `json:"compute"`   // numbers of the device
	Device    string `json:"device"`

	Documents int64   `json:"documents"` // done
	Tokens    int64   `json:"tokens"`    // losses in the file
	Truncated int64   `json:"documents_truncated"`
	Cut       int64   `json:"response_tokens_cut"`
	Sum       float64 `json:"sum"`   // of the losses, in nats
	XXH64     string  `json:"xxh64"` // of the file up to Tokens
	Done      bool    `json:"done"`
}

// Mean is the mean loss.
func (s *Scored) Mean() float64 { return s.Sum / math.Max(1, float64(s.Tokens)) }

// differs names the first input that two have not in common, with both values.
func (s *Scored) differs(o *Scored) string {
	for _, v := range []struct {
		name string
		a, b any
	}{{"format", s.Format, o.Format}, {"model", s.Model, o.Model}, {"data", s.Data, o.Data}, {"tokenizer", s.Tokenizer, o.Tokenizer},
		{"length", s.Length, o.Length}, {"device", s.Device, o.Device}} {
		if v.a != v.b {
			return fmt.Sprintf("%s was %v, is %v", v.name, v.a, v.b)
		}
	}
	return ""
}

// A LossWriter writes a file of losses, or goes on with one.
type LossWriter struct {
	Scored
	name string // without extension
	f    *os.File
	out  *bufio.Writer
	sum  hash.Hash64
	raw  []byte
}

// WriteLosses opens NAME.f32 for what want identifies: behind what is there already of the same inputs. With Done there is
// nothing to do, whatever the device was. A file of other inputs is refused.
func WriteLosses(name string, want Scored) (*LossWriter, error) {
	want.Format = lossesFormat
	w := &LossWriter{Scored: want, name: name, sum: xxhash.New()}
	old, err := readScored(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		if old.Done { // on whatever device
			want.Device = old.Device
		}
		if d := old.differs(&want); d != "" {
			return nil, fault.Usage.Errorf("%s.f32 has losses of other inputs: %s; hint: another --out, or delete the file and its .json", name, d)
		}
		w.Scored = old
	}
	if w.f, err = os.OpenFile(name+".f32", os.O_CREATE|os.O_RDWR, 0o644); err != nil {
		return nil, fault.Write.Wrap(err)
	}
	if err := w.open(); err != nil {
		w.f.Close()
		return nil, err
	}
	return w, nil
}

// open verifies what is there and cuts off what was not committed.
func (w *LossWriter) open() error {
	size := 4 * w.Tokens
	if n, err := io.Copy(w.sum, io.NewSectionReader(w.f, 0, size)); err != nil || n != size || w.XXH64 != "" && w.XXH64 != sumText(w.sum) {
		return fault.Data.Errorf("%s.f32 is not what %s.json says of it: %d bytes, expected %d with xxh64 %s, found %s%s; hint: delete both, and they are made again",
			w.name, w.name, n, size, w.XXH64, sumText(w.sum), because(err))
	}
	if err := w.f.Truncate(size); err != nil {
		return fault.Write.Wrap(err)
	}
	if _, err := w.f.Seek(size, io.SeekStart); err != nil {
		return fault.Write.Wrap(err)
	}
	w.out = bufio.NewWriterSize(io.MultiWriter(w.f, w.sum), 1<<16)
	return nil
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

func sumText(h hash.Hash64) string { return fmt.Sprintf("%016x", h.Sum64()) }

// Append adds the losses of one document.
func (w *LossWriter) Append(losses []float32) error {
	w.raw = w.raw[:0]
	for _, l := range losses {
		w.raw = binary.LittleEndian.AppendUint32(w.raw, math.Float32bits(l))
		w.Sum += float64(l)
	}
	_, err := w.out.Write(w.raw)
	w.Documents++
	w.Tokens += int64(len(losses))
	return fault.Write.Wrap(err)
}

// Commit makes durable what was appended, so that an interrupted job goes on behind it; the last one says done.
func (w *LossWriter) Commit(done bool) error {
	err := w.out.Flush()
	if err == nil {
		err = w.f.Sync()
	}
	if err != nil {
		return fault.Write.Wrap(err)
	}
	w.Done, w.XXH64 = done, sumText(w.sum)
	text, err := json.MarshalIndent(w.Scored, "", "  ")
	if err != nil {
		return err
	}
	return fault.Write.Wrap(vfs.WriteAtomic(vfs.OS{}, w.name+".json", append(text, '\n')))
}

// Close closes the file; what was not committed is lost.
func (w *LossWriter) Close() error { return fault.Write.Wrap(w.f.Close()) }

func readScored(name string) (s Scored, err error) {
	text, err := os.ReadFile(name + ".json")
	if err != nil {
		return s, fault.Data.Wrap(err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fault.Data.Errorf("%s.json: %w", name, err)
	}
	if s.Format != lossesFormat || s.Documents < 0 || s.Tokens < 0 || s.Tokens > math.MaxInt64/4 {
		return s, fault.Data.Errorf("%s.json: format %d with %d losses of %d documents; this program reads format %d", name, s.Format, s.Tokens, s.Documents, lossesFormat)
	}
	return s, nil
}

// A LossReader reads a finished file of losses from its start.
type LossReader struct {
	Scored
	name string
	f    *os.File
	in   *bufio.Reader
	sum  hash.Hash64
	left int64
	raw  []byte
}

// ReadLosses opens NAME.f32. A file that does not exist, or is not finished, is nil without an error.
func ReadLosses(name string) (*LossReader, error) {
	s, err := readScored(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !s.Done {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(name + ".f32")
	if err != nil {
		return nil, fault.Data.Wrap(err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != 4*s.Tokens {
		f.Close()
		return nil, fault.Data.Errorf("%s.f32: expected %d bytes, as %s.json says%s; hint: delete both, and they are made again", name, 4*s.Tokens, name, because(err))
	}
	return &LossReader{Scored: s, name: name, f: f, in: bufio.NewReaderSize(f, 1<<16), sum: xxhash.New(), left: s.Tokens}, nil
}

// Next appends the losses of the next n response tokens.
func (r *LossReader) Next(dst []float32, n int) ([]float32, error) {
	if int64(n) > r.left {
		return dst, fault.Data.Errorf("%s.f32 ends before the data set: it has losses of %d response tokens", r.name, r.Tokens)
	}
	r.left -= int64(n)
	for ; n > 0; n -= len(r.raw) / 4 {
		r.raw = append(r.raw[:0], make([]byte, 4*min(n, 1<<14))...)
		if _, err := io.ReadFull(r.in, r.raw); err != nil {
			return dst, fault.Data.Errorf("%s.f32: %w", r.name, err)
		}
		r.sum.Write(r.raw)
		for at := 0; at < len(r.raw); at += 4 {
			dst = append(dst, math.Float32frombits(binary.LittleEndian.Uint32(r.raw[at:])))
		}
	}
	return dst, nil
}

// End checks that all was read and is what was written.
func (r *LossReader) End() error {
	if r.left > 0 {
		return fault.Data.Errorf("%s.f32 has losses of %d response tokens more than the data set", r.name, r.left)
	}
	if got := sumText(r.sum); got != r.XXH64 {
		return fault.Data.Errorf("%s.f32: xxh64 %s, %s.json says %s; hint: delete both, and they are made again", r.name, got, r.name, r.XXH64)
	}
	return nil
}

// Close closes the file.
func (r *LossReader) Close() error { return r.f.Close() }

// Compare refuses the losses of two models that cannot be subtracted, and says what makes them differ a little.
func Compare(base, tuned *Scored) (note string, err error) {
	if d := (&Scored{Data: base.Data, Tokenizer: base.Tokenizer, Length: base.Length}).differs(&Scored{Data: tuned.Data, Tokenizer: tuned.Tokenizer, Length: tuned.Length}); d != "" {
		d = strings.Replace(strings.Replace(d, " was ", " of the model is ", 1), ", is ", ", of the tuned model ", 1)
		return "", fault.Data.Errorf("the losses of both models are not of the same tokens: %s; hint: score both on the same data set, with the same length", d)
	}
	switch {
	case base.Compute != tuned.Compute:
		return "", fault.Data.Errorf("the model was scored in %s, the tuned model in %s, so that rounding would look like a difference; hint: score both on the same kind of device", base.Compute, tuned.Compute)
	case base.Device != tuned.Device:
		note = fmt.Sprintf("both models were scored on different devices (%s; %s): differences near 0 may be rounding, shad.deadzone takes them for 0", base.Device, tuned.Device)
	}
	return note, nil
}
