package text

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// sniffBytes is how much of a file's beginning decides whether it is text.
const sniffBytes = 8000

// file reads one file; true means go on with the next.
func (p *pass) file(path string) bool {
	in, err := p.r.openInput(path, &p.r.read)
	if err != nil {
		return p.fail("input: %w", err)
	}
	defer in.close()
	name := sourceName(path)
	br := bufio.NewReaderSize(in, readBuffer)
	head, err := br.Peek(sniffBytes)
	if err != nil && err != io.EOF {
		return p.fail("input: %w", err)
	}
	format := p.r.format(path)
	if why := notText(head, format == "jsonl"); why != "" {
		return p.bad("%s: %s", name, why)
	}
	if err := skipBOM(br); err != nil {
		return p.fail("input %s: %w", name, err)
	}
	switch {
	case format == "jsonl":
		return p.jsonl(name, br)
	case format == "csv":
		return p.table(name, br, ',')
	case format == "tsv":
		return p.table(name, br, '\t')
	case format == "conll":
		return p.conll(path, br)
	case p.r.o.Unit == "file":
		return p.whole(name, br)
	case p.r.o.Unit == "line":
		return p.lines(name, br)
	}
	return p.paragraphs(name, br)
}

// skipBOM moves behind a byte order mark.
func skipBOM(br *bufio.Reader) error {
	const bom = "\xEF\xBB\xBF"
	if head, _ := br.Peek(len(bom)); string(head) == bom { // a failed read comes again
		_, err := br.Discard(len(bom))
		return err
	}
	return nil
}

// notText tells why a file that begins with head is no text; empty when it may be. In JSON lines, a zero byte is an error of
// its record.
func notText(head []byte, jsonl bool) string {
	switch {
	case bytes.HasPrefix(head, []byte("\x1F\x8B")):
		return "is compressed by gzip twice, or inside another compression; hint: unpack it first (gzip -dk)"
	case bytes.HasPrefix(head, []byte("\x28\xB5\x2F\xFD")):
		return "is compressed by zstd twice, or inside another compression; hint: unpack it first (zstd -d)"
	case bytes.HasPrefix(head, []byte("\xFF\xFE")), bytes.HasPrefix(head, []byte("\xFE\xFF")):
		return "is UTF-16; hint: convert it first (iconv -f UTF-16 -t UTF-8)"
	}
	if zero := bytes.IndexByte(head, 0); zero >= 0 && !jsonl {
		return fmt.Sprintf("is not text: zero byte at offset %d; hint: choose files with include patterns, or skip bad records", zero)
	}
	return ""
}

// whole reads a file as one document. A byte order mark is no part of it.
func (p *pass) whole(name string, r io.Reader) bool {
	limit := int64(p.r.o.MaxDocument)
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return p.fail("input: %w", err)
	}
	if int64(len(text)) > limit {
		more, err := io.Copy(io.Discard, r)
		if err != nil {
			return p.fail("input: %w", err)
		}
		return p.bad("%s: document of %d bytes, the limit is %d; hint: take paragraphs or lines as documents, or raise the limit",
			name, int64(len(text))+more, limit)
	}
	return p.emit(Document{Text: text, Source: name, Line: 1})
}

// lines reads every line as a document, without its end.
func (p *pass) lines(name string, br *bufio.Reader) bool {
	l := lineReader{r: br, max: p.r.o.MaxDocument}
	for {
		line, long, err := l.next()
		switch {
		case err == io.EOF:
			return true
		case err != nil:
			return p.fail("input: %w", err)
		case long > 0:
			if !p.bad("%s:%d: line of %d bytes, the limit is %d", name, l.number, long, l.max) {
				return false
			}
		case !p.emit(Document{Text: bytes.Clone(trimLineEnd(line)), Source: name, Line: l.number}):
			return false
		}
	}
}

// paragraphs reads documents that lines of white space separate. Line ends inside stay as they are, the last one goes.
func (p *pass) paragraphs(name string, br *bufio.Reader) bool {
	l := lineReader{r: br, max: p.r.o.MaxDocument}
	var text []byte
	var size int64 // of the paragraph, also of what was not kept
	first := 0
	most := int64(l.max) + 2 // with a line end
	flush := func() bool {
		paragraph, n := trimLineEnd(text), size
		text, size = nil, 0
		switch {
		case n == 0:
			return true
		case n > most:
			return p.bad("%s:%d: paragraph of %d bytes, the limit is %d", name, first, n, l.max)
		}
		return p.emit(Document{Text: paragraph, Source: name, Line: first})
	}
	for {
		line, long, err := l.next()
		switch {
		case err == io.EOF:
			return flush()
		case err != nil:
			return p.fail("input: %w", err)
		case long == 0 && isBlank(line):
			if !flush() {
				return false
			}
			continue
		case size == 0:
			first = l.number
		}
		size += long + int64(len(line))
		if size > most {
			text = nil
		} else {
			text = append(text, line...)
		}
	}
}
