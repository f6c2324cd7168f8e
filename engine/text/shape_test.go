package text

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

// marked shows a text with its answers in ⟦⟧ and its entities as [text|type].
func marked(d Document, types []string) string {
	type mark struct {
		at   int
		what string
	}
	var marks []mark
	for _, s := range d.Spans {
		switch s.Kind {
		case Answer:
			marks = append(marks, mark{s.Start, "⟦"}, mark{s.End, "⟧"})
		case Entity:
			marks = append(marks, mark{s.Start, "["}, mark{s.End, "|" + types[s.Type] + "]"})
		}
	}
	slices.SortStableFunc(marks, func(a, b mark) int { return a.at - b.at })
	var b strings.Builder
	at := 0
	for _, m := range marks {
		b.Write(d.Text[at:m.at])
		b.WriteString(m.what)
		at = m.at
	}
	b.Write(d.Text[at:])
	return b.String()
}

// readMarked reads one file as "line:marked text".
func readMarked(t testing.TB, name, content string, o ReaderOptions) ([]string, *Reader, error) {
	t.Helper()
	o.Paths = []string{filepath.Join(folder(t, map[string]string{name: content}), name)}
	r, err := Open(o)
	if err != nil {
		return nil, nil, err
	}
	var documents []Document
	for d, e := range r.Documents() {
		if err = e; err == nil {
			documents = append(documents, d)
		}
	}
	var docs []string
	for _, d := range documents {
		docs = append(docs, fmt.Sprintf("%d:%s", d.Line, marked(d, r.EntityTypes())))
	}
	return docs, r, err
}

func fields(t testing.TB, list string) map[string]string {
	t.Helper()
	f, err := ParseFields(list)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestShapes(t *testing.T) {
	conversation := `{"messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"Hi","id":[1]},` +
		`{"role":"assistant","content":"Hello é"},{"content":"And?","role":"user"},{"role":"assistant","content":"Bye"}]}`
	for _, c := range []struct {
		name, content string
		o             ReaderOptions
		want          string
	}{
		{"gsm8k", `{"question":"1+1?","answer":"It is\n2","more":null}`, ReaderOptions{Fields: fields(t, "prompt=question, completion=answer")}, "1:1+1?\n⟦It is\n2⟧"},
		{"pattern", `{"completion":"B","prompt":"A"}`, ReaderOptions{Shape: "pair", Template: `Q: {prompt}\tA: {completion}{{end}}\\n\n`}, "1:Q: A\tA: ⟦B{end}\\n\n⟧"},
		{"answer first", `{"completion":"B","prompt":"A"}`, ReaderOptions{Shape: "pair", Template: `{completion}, {prompt}.`}, "1:⟦B, ⟧A."},
		{"alpaca", `{"instruction":"Add","input":"1 2","output":"3"}`, ReaderOptions{Shape: "alpaca"}, "1:Add\n\n1 2\n\n⟦3⟧"},
		{"no input", `{"instruction":"Sing","output":"La"}`, ReaderOptions{Shape: "alpaca"}, "1:Sing\n\n⟦La⟧"},
		{"empty input", `{"instruction":"Sing","input":"","output":"La"}`, ReaderOptions{Fields: fields(t, "instruction=instruction")}, "1:Sing\n\n⟦La⟧"},
		{"null input", `{"instruction":"Sing","input":null,"output":"La"}`, ReaderOptions{Shape: "alpaca"}, "1:Sing\n\n⟦La⟧"},
		{"plain messages", conversation, ReaderOptions{Shape: "messages"}, "1:Be kind.\nHi\n⟦Hello é\n⟧And?\n⟦Bye\n⟧"},
		{"chatml", conversation, ReaderOptions{Shape: "messages", Template: "chatml"}, "1:<|im_start|>system\nBe kind.<|im_end|>\n" +
			"<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n⟦Hello é<|im_end|>\n⟧<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n⟦Bye<|im_end|>\n⟧"},
		{"custom", `{"conversations":[{"from":"human","value":"Hi"},{"from":"gpt","value":"Yo"}]}`,
			ReaderOptions{Fields: fields(t, "messages=conversations,role=from,content=value"), Assistant: "gpt", Template: `<|{role}|>\n{content}\n`},
			"1:<|human|>\nHi\n<|gpt|>\n⟦Yo\n⟧"},
		{"spans", `{"text":"Zoë 😀 met Ann","spans":[{"start":10,"end":13,"label":"PER","id":1},{"start":0,"end":3,"label":"PER"},{"start":4,"end":5,"label":"FACE"}]}`,
			ReaderOptions{Shape: "spans"}, "1:[Zoë|PER] [😀|FACE] met [Ann|PER]"},
		{"no spans", `{"text":"nothing","spans":[]}`, ReaderOptions{Shape: "spans"}, "1:nothing"},
		{"escaped", `{"body":"a\u0062","e":[{"s":0,"t":2,"k":"X"}]}`, ReaderOptions{Fields: fields(t, "text=body,spans=e,start=s,end=t,label=k")}, "1:[ab|X]"},
	} {
		docs, _, err := readMarked(t, "a.jsonl", c.content+"\n", c.o)
		wantDocs(t, c.name, docs, err, c.want)
	}
}

// A description of records is not ignored where all files are read as text; beside a file of records text may be.
func TestRecordsInNoFile(t *testing.T) {
	for _, o := range []ReaderOptions{{Shape: "pair"}, {Shape: "generation"}, {Fields: fields(t, "text=body")}} {
		_, _, err := readMarked(t, "a.txt", `{"prompt":"A"}`, o)
		wantKind(t, err, fault.Usage, "a.txt is read as txt", "no records", "hint")
		o.Paths, o.Stdin = []string{"-"}, strings.NewReader("{}")
		_, err = Open(o)
		wantKind(t, err, fault.Usage, "- is read as txt", "choose the format")
	}
	docs, _, err := readMarked(t, "a.txt", "plain", ReaderOptions{Shape: "text"})
	wantDocs(t, "text", docs, err, "1:plain")
	docs, _, err = readMarked(t, "a.txt", `{"prompt":"A","completion":"B"}`, ReaderOptions{Shape: "pair", Format: "jsonl"})
	wantDocs(t, "the format says it", docs, err, "1:A\n⟦B⟧")
	dir := folder(t, map[string]string{"README.txt": "about", "a.jsonl": `{"prompt":"A","completion":"B"}`})
	if _, err := Open(ReaderOptions{Paths: []string{dir}, Shape: "pair"}); err != nil {
		t.Error(err)
	}
}

func TestBadShapedRecords(t *testing.T) {
	for _, c := range []struct{ shape, line, want string }{
		{"pair", `{"prompt":"A"}`, `no field "completion"; the record has ["prompt"]`},
		{"pair", `{"prompt":"A","completion":""}`, `field "completion" is empty: there is nothing to learn`},
		{"pair", `{"prompt":"A","completion":null}`, "expected a string, found null"},
		{"alpaca", `{"instruction":"A","input":"B"}`, `no field "output"`},
		{"messages", `{"messages":[]}`, "nothing to learn"},
		{"messages", `{"messages":[{"role":"user","content":"A"}]}`, `the role "assistant" wrote none of the 1 messages`},
		{"messages", `{"messages":[{"role":"assistant","content":""}]}`, "nothing to learn"},
		{"messages", `{"messages":[{"role":"assistant"}]}`, `$.messages[0] (byte 34): no key "content"`},
		{"messages", `{"messages":[{"role":"assistant","content":[{"text":"A"}]}]}`, "$.messages[0].content (byte 44): expected a string, found an array"},
		{"messages", `{"messages":[{"role":"a|><|b","content":"A"}]}`, `message 1: role "a|><|b"`},
		{"messages", `{"messages":[{"role":"user","role":"user","content":"A"}]}`, "the key comes twice"},
		{"messages", `{"messages":{}}`, "expected an array, found an object"},
		{"spans", `{"text":"abc","spans":[{"start":0,"end":4,"label":"X"}]}`, `span 0 to 4 ("X") in a text of 3 code points`},
		{"spans", `{"text":"abc","spans":[{"start":1,"end":1,"label":"X"}]}`, "span 1 to 1"},
		{"spans", `{"text":"abc","spans":[{"start":-1,"end":1,"label":"X"}]}`, "span -1 to 1"},
		{"spans", `{"text":"abc","spans":[{"start":9223372036854775807,"end":-9223372036854775808,"label":"X"},{"start":-9223372036854775808,"end":1,"label":"X"}]}`, "span -9223372036854775808"},
		{"spans", `{"text":"abc","spans":[{"start":1,"end":3,"label":"X"},{"start":0,"end":2,"label":"Y"}]}`, `span 1 to 3 ("X") overlaps 0 to 2 ("Y")`},
		{"spans", `{"text":"abc","spans":[{"start":0.5,"end":3,"label":"X"}]}`, "expected an integer, found 0.5"},
		{"spans", `{"text":"abc","spans":[{"start":0,"end":3,"label":""}]}`, "entity type"},
		{"spans", `{"text":"abc","spans":[{"start":0,"end":3}]}`, `no key "label"`},
		{"spans", `{"text":"abc"}`, `no field "spans"`},
	} {
		_, _, err := readMarked(t, "a.jsonl", c.line, ReaderOptions{Shape: c.shape})
		wantKind(t, err, fault.Data, "a.jsonl:1: ", c.want)
	}
	docs, r, err := readMarked(t, "a.jsonl", "{\"prompt\":\"A\"}\n{\"prompt\":\"A\",\"completion\":\"B\"}", ReaderOptions{Shape: "pair", OnBadRecord: "skip"})
	wantDocs(t, "skip", docs, err, "2:A\n⟦B⟧")
	if rep := r.Report(); rep.Skipped != 1 || rep.Answers != 1 {
		t.Errorf("report %+v", rep)
	}
}

func TestShapeOptions(t *testing.T) {
	for _, c := range []struct {
		o    ReaderOptions
		want string
	}{
		{ReaderOptions{Shape: "chat"}, "expected one of text, pair, alpaca, messages, spans"},
		{ReaderOptions{Fields: fields(t, "prompt=a,output=b")}, `no shape of records (text, pair, alpaca, messages, spans, generation) has all of the roles ["output" "prompt"]`},
		{ReaderOptions{Shape: "pair", Fields: fields(t, "text=a")}, `roles ["prompt" "completion"], not ["text"]`},
		{ReaderOptions{Shape: "pair", Field: "body"}, `not ["text"]`},
		{ReaderOptions{Fields: fields(t, "text=a"), Field: "b"}, `in field "b" and in field "a"`},
		{ReaderOptions{Fields: fields(t, "prompt=x,completion=x")}, `field "x" has two roles`},
		{ReaderOptions{Fields: fields(t, "role=x,content=x")}, `field "x" has two roles`},
		{ReaderOptions{Template: "chatml"}, "shape text need none"},
		{ReaderOptions{Shape: "pair", Template: "chatml"}, "expected one of plain, or a pattern such as"},
		{ReaderOptions{Shape: "pair", Template: "{prompt}"}, "{completion} is missing"},
		{ReaderOptions{Shape: "pair", Template: "{prompt}{prompt}{completion}"}, "{prompt} comes twice"},
		{ReaderOptions{Shape: "pair", Template: "{prompt}{answer}"}, `unknown place {answer}, expected one of ["prompt" "completion"]`},
		{ReaderOptions{Shape: "pair", Template: "{prompt}{completion"}, "is not closed"},
		{ReaderOptions{Shape: "pair", Template: "{prompt}}{completion}}}"}, "at byte 9 closes nothing"},
		{ReaderOptions{Shape: "pair", Template: `{prompt}\{completion}`}, "a backslash at byte 9"},
		{ReaderOptions{Shape: "pair", Template: `{prompt}{completion}\`}, "a backslash at byte 21"},
		{ReaderOptions{Shape: "pair", Assistant: "gpt"}, "only records of the shape messages"},
		{ReaderOptions{EntityTypes: []string{"A", "A"}}, "given twice"},
		{ReaderOptions{EntityTypes: []string{"A\nB"}}, "entity type"},
		{ReaderOptions{TagColumn: 1}, "both in column 1"},
		{ReaderOptions{Quotes: "some"}, "expected one of csv, none"},
		{ReaderOptions{Scheme: "bio"}, "expected one of auto, iob1, iob2, iobes, bilou"},
		{ReaderOptions{MaxRatio: -1}, "limit of unpacking is -1"},
	} {
		_, _, err := readMarked(t, "a.jsonl", `{"text":"a"}`, c.o)
		wantKind(t, err, fault.Usage, c.want)
	}
	for _, list := range []string{"a", "a=", "=b", "a=b,a=c", "a=b,"} {
		_, err := ParseFields(list)
		wantKind(t, err, fault.Usage, "ROLE=FIELD")
	}
}

func TestEntityTypesGiven(t *testing.T) {
	line := `{"text":"abc","spans":[{"start":0,"end":1,"label":"B"}]}`
	docs, r, err := readMarked(t, "a.jsonl", line, ReaderOptions{Shape: "spans", EntityTypes: []string{"A", "B"}})
	wantDocs(t, "given", docs, err, "1:[a|B]bc")
	equal(t, "types", r.EntityTypes(), []string{"A", "B"})
	_, _, err = readMarked(t, "a.jsonl", line, ReaderOptions{Shape: "spans", EntityTypes: []string{"A"}})
	wantKind(t, err, fault.Data, `entity type "B" is none of ["A"]`)
	var many strings.Builder
	for i := range MaxEntityTypes + 1 {
		fmt.Fprintf(&many, "{\"text\":\"abc\",\"spans\":[{\"start\":0,\"end\":1,\"label\":\"T%d\"}]}\n", i)
	}
	docs, _, err = readMarked(t, "a.jsonl", many.String(), ReaderOptions{Shape: "spans"})
	wantKind(t, err, fault.Data, `a.jsonl:128: entity type "T127" would be the 128th`)
	if len(docs) != MaxEntityTypes {
		t.Errorf("%d documents", len(docs))
	}
	var long []string
	for i := range 80 {
		long = append(long, fmt.Sprintf("%060d", i))
	}
	_, _, err = readMarked(t, "a.jsonl", line, ReaderOptions{Shape: "spans", EntityTypes: long})
	wantKind(t, err, fault.Usage, "the names of 56 entity types together")
}

// Whatever a record is, spans lie in the text, are not empty, and those of a kind follow each other.
func FuzzShapes(f *testing.F) {
	f.Add(byte(1), `{prompt}\n{completion}`, []byte(`{"prompt":"a","completion":"b"}`))
	f.Add(byte(2), `{instruction}-{input}-{output}.`, []byte(`{"instruction":"a","input":null,"output":"b"}`))
	f.Add(byte(3), `<|{role}|>{content}`, []byte(`{"messages":[{"role":"assistant","content":"b"}]}`))
	f.Add(byte(4), ``, []byte(`{"text":"é😀b","spans":[{"start":1,"end":3,"label":"X"},{"start":0,"end":1,"label":"Y"}]}`))
	f.Fuzz(func(t *testing.T, which byte, template string, line []byte) {
		o := ReaderOptions{Shape: shapes[int(which)%len(shapes)].name, Template: template}
		m, err := newRecordMap(&o)
		if err != nil {
			wantKind(t, err, fault.Usage)
			return
		}
		types, _ := newTypeTable(entityTypeTable, nil)
		r := recordReader{m: m, typeOf: types.of}
		d, err := r.read(bytes.TrimSpace(line))
		if err == nil {
			checkSpans(t, d, types.names)
		}
	})
}

func checkSpans(t *testing.T, d Document, types []string) {
	t.Helper()
	end := map[SpanKind]int{}
	for _, s := range d.Spans {
		if s.Start < end[s.Kind] || s.End <= s.Start || s.End > len(d.Text) || s.Kind == Entity && (s.Type < 0 || s.Type >= len(types)) {
			t.Fatalf("span %+v in %d bytes, behind %d", s, len(d.Text), end[s.Kind])
		}
		end[s.Kind] = s.End
	}
}
