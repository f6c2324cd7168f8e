package text

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

func TestSaveLoad(t *testing.T) {
	tok := trained(t, TrainOptions{Vocab: 400, Specials: []string{"<s>", "</s>", "<pad>", "<mask>", "<|\"\\\u2028 ü|>"}}, sample)
	path := filepath.Join(t.TempDir(), "tokenizer.json")
	for range 2 { // the second replaces the first
		if err := tok.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("%d files left, %v", len(entries), err)
	}
	again, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	first, err1 := tok.JSON()
	second, err2 := again.JSON()
	if err1 != nil || err2 != nil || !bytes.Equal(first, second) || !json.Valid(first) {
		t.Error("JSON differs after loading")
	}
	equal(t, "hash", []string{again.Hash()}, []string{tok.Hash()})
	equal(t, "roles", []int32{again.BOS, again.EOS, again.Pad, again.Mask}, []int32{0, 1, 2, 3})
	equal(t, "specials", again.Specials(), []int32{0, 1, 2, 3, 4})
	equal(t, "ids", again.Encode(nil, []byte(sample)), tok.Encode(nil, []byte(sample)))
	for id := range int32(tok.Vocab()) {
		if found, ok := again.ID(tok.Token(id)); !ok || found != id || !bytes.Equal(again.TokenBytes(id), tok.TokenBytes(id)) {
			t.Errorf("token %d %q: %d, %t", id, tok.Token(id), found, ok)
		}
	}
	if _, ok := tok.ID("no such token"); ok || tok.Token(-1) != "" || tok.TokenBytes(400) != nil || tok.IsSpecial(400) {
		t.Error("tokens that are not there")
	}
	err = tok.Save(filepath.Join(t.TempDir(), "no", "folder", "t.json"))
	wantKind(t, err, fault.Write, "no such file")
}

// plain builds a tokenizer.json from parts; edit changes the decoded form before it is written.
func plain(t testing.TB, edit func(root, model map[string]any)) []byte {
	t.Helper()
	vocab := map[string]any{}
	for b := range 256 {
		vocab[string(byteRune[b])] = b
	}
	vocab["ab"], vocab["abc"], vocab["</s>"] = 256, 257, 258
	model := map[string]any{"type": "BPE", "vocab": vocab, "merges": []any{[]any{"a", "b"}, "ab c"}}
	root := map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "normalizer": nil, "post_processor": nil, "model": model,
		"pre_tokenizer": map[string]any{"type": "ByteLevel", "add_prefix_space": false},
		"decoder":       map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
		"added_tokens": []any{
			map[string]any{"id": 258, "content": "</s>", "special": true, "lstrip": false, "normalized": true},
			map[string]any{"id": 259, "content": "<|endoftext|>", "special": true},
		},
	}
	if edit != nil {
		edit(root, model)
	}
	data, err := json.Marshal(root)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParse(t *testing.T) {
	tok, err := Parse(plain(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "ids", tok.Encode(nil, []byte("abcab")), []int32{257, 256})
	equal(t, "roles", []int32{tok.BOS, tok.EOS, tok.Pad, tok.Mask, int32(tok.Vocab())}, []int32{259, 258, -1, -1, 260})
	equal(t, "hash, which data sets keep", []string{tok.Hash()}, []string{"39f3fdc079d51d0a"})
	// Layout, order of keys and what has no say in the ids leave the hash alone; content does not.
	var indented bytes.Buffer
	if err := json.Indent(&indented, plain(t, nil), "", "\t"); err != nil {
		t.Fatal(err)
	}
	same := [][]byte{indented.Bytes(), plain(t, func(root, model map[string]any) {
		root["post_processor"] = map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false}
		root["decoder"] = nil
		delete(root, "padding")
		delete(model, "type")
		model["unk_token"], model["fuse_unk"], model["continuing_subword_prefix"] = "", true, ""
		model["merges"] = []any{"a b", []any{"ab", "c"}}
	})}
	for i, data := range same {
		if other, err := Parse(data); err != nil || other.Hash() != tok.Hash() {
			t.Errorf("variant %d: %v", i, err)
		}
	}
	other, err := Parse(plain(t, func(_, model map[string]any) { model["merges"] = []any{"ab c", "a b"} }))
	if err != nil || other.Hash() == tok.Hash() {
		t.Errorf("other order of merges: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	type object = map[string]any
	model := func(key string, value any) func(object, object) { return func(_, m object) { m[key] = value } }
	root := func(key string, value any) func(object, object) { return func(r, _ object) { r[key] = value } }
	vocab := func(key string, value any) func(object, object) {
		return func(_, m object) { m["vocab"].(object)[key] = value }
	}
	added := func(token object) func(object, object) { return root("added_tokens", []any{token}) }
	for name, c := range map[string]struct {
		edit func(root, model map[string]any)
		want string
	}{
		"normalizer":        {root("normalizer", object{"type": "Nmt"}), `$.normalizer (byte`},
		"normalizer's name": {root("normalizer", object{"form": 1, "type": "Nmt"}), `"Nmt"`},
		"normalizer's key":  {root("normalizer", object{"form": 1, "type": "NFC"}), `$.normalizer.form`},
		"truncation":        {root("truncation", object{"max_length": 5}), `$.truncation (byte`},
		"version":           {root("version", "2.0"), `"1.0" only, found "2.0"`},
		"unknown key":       {root("mystery", 1), "$.mystery"},
		"no model":          {func(r, _ object) { delete(r, "model") }, "$.model is missing"},
		"no merges":         {func(_, m object) { delete(m, "merges") }, "merges is missing"},
		"regular expression": {root("pre_tokenizer", object{"type": "Split", "pattern": object{"Regex": "(a+)+"}}),
			`$.pre_tokenizer (byte`},
		"no prefix space": {root("pre_tokenizer", object{"type": "ByteLevel"}), "add_prefix_space is missing"},
		"post_processor":  {root("post_processor", object{"type": "TemplateProcessing"}), `single is missing`},
		"decoder":         {root("decoder", object{"type": "WordPiece"}), `$.decoder (byte`},
		"unknown decoder": {root("decoder", object{"type": "CTC"}), `found "CTC"`},
		"model type":      {model("type", "WordLevel"), `found "WordLevel"`},
		"bytes not last": {root("pre_tokenizer", object{"type": "Sequence", "pretokenizers": []any{
			object{"type": "ByteLevel", "add_prefix_space": false}, object{"type": "Whitespace"}}}), "last of a sequence"},
		"type is no string": {model("type", 5), "$.model.type"},
		"dropout":           {model("dropout", 0.1), "$.model.dropout"},
		"byte_fallback":     {model("byte_fallback", true), "$.model.byte_fallback"},
		"suffix":            {model("end_of_word_suffix", "</w>"), "$.model.end_of_word_suffix"},
		"huge id":           {vocab("zz", 1<<31), "token id 2147483648 is not between"},
		"huge id in added":  {added(object{"id": MaxVocab, "content": "x y", "special": true}), "$.added_tokens[0].id"},
		"negative id":       {vocab("zz", -1), "token id -1"},
		"fraction":          {vocab("zz", 1.5), "expected an integer, found 1.5"},
		"hole":              {vocab("zz", 1000), "without holes"},
		"id twice":          {vocab("zz", 256), "id 256 belongs to two tokens"},
		"alphabet":          {vocab("▁zz", 260), "not in the byte-level alphabet"},
		"empty token":       {vocab("", 260), "token 260 is empty"},
		"byte missing":      {func(_, m object) { v := m["vocab"].(object); delete(v, "!"); v["!!"] = 33 }, "no token for byte 0x21"},
		"merge of unknown":  {model("merges", []any{"a q b"}), "expected two tokens to merge, found 3"},
		"merge of one":      {model("merges", []any{[]any{"a"}}), "$.model.merges[0]"},
		"merge part":        {model("merges", []any{"a zzz"}), `$.model.merges[0]: "zzz" is not in`},
		"merge result":      {model("merges", []any{"a b", "b a"}), `$.model.merges[1]: "ba" is not in`},
		"merge twice":       {model("merges", []any{"a b", "ab c", "a b"}), "merges 0 and 2 both join"},
		"cycle":             {model("merges", []any{"a b", []any{"ab", ""}}), `"" is not in`},
		"merge to special": {func(r, m object) {
			m["merges"] = []any{"< /"}
			m["vocab"].(object)["</"] = 258
			delete(m["vocab"].(object), "</s>")
			r["added_tokens"] = []any{object{"id": 258, "content": "</", "special": true}}
		}, "special token"},
		"no special": {added(object{"id": 258, "content": "</s>"}), "special is missing"},
		"not a flag": {added(object{"id": 258, "content": "</s>", "special": true, "lstrip": 1}), "lstrip"},
		"two ids":    {added(object{"id": 259, "content": "</s>", "special": true}), "has id 259 here and 258 in"},
	} {
		_, err := Parse(plain(t, c.edit))
		if !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: error %v does not contain %q", name, err, c.want)
		}
		wantKind(t, err, fault.Data)
	}
}

func TestParseRefusesText(t *testing.T) {
	good := string(plain(t, nil))
	for _, c := range [][2]string{
		{"", "the file is empty"}, {" \n", "the file is empty"}, {"[]", "expected an object, found an array"}, {"{", "the end of the text"},
		{good[:strings.Index(good, "merges")], "the text ends inside a string"}, {good + "x", "after the end"}, {"\xEF\xBB\xBF" + good, "expected an object"},
		{"{\"version\": \"1.0\xff\"}", "not valid UTF-8 at byte 17"},
		{strings.Replace(good, `"version":"1.0"`, `"version":"1.0","version":"1.0"`, 1), "the key comes twice"},
		{strings.Replace(good, `"ab":256`, `"ab":256,"ab":256`, 1), "$.model.vocab.ab (byte"},
		{strings.Replace(good, `"content":"\u003c/s\u003e"`, `"content":"\ud800"`, 1), "surrogate"},
		{`{"normalizer":` + strings.Repeat(`{"type":"Sequence","normalizers":[`, 1000), "nested deeper than 200"},
	} {
		_, err := Parse([]byte(c[0]))
		wantKind(t, err, fault.Data, c[1])
	}
	_, err := Load(filepath.Join(t.TempDir(), "none.json"))
	wantKind(t, err, fault.Data, "none.json", "hint")
	path := filepath.Join(t.TempDir(), "t.json")
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 300<<20); err != nil { // sparse
		t.Fatal(err)
	}
	_, err = Load(path)
	wantKind(t, err, fault.Data, path, "expected at most")
}

func TestScannerAgreesWithEncodingJSON(t *testing.T) {
	tokens := []string{"{", "}", "[", "]", ":", ",", `"a"`, `"b\n"`, `"\u00e9"`, `"\ud83d\ude00"`, `"\x"`, "1", "-0.5e+3", "01", "1.",
		"true", "false", "null", "nul", " ", "\"\x01\"", `{"k":1}`, `[1,2]`, "é"}
	d := draw(6)
	valid := 0
	for range 50000 {
		var b []byte
		for range 1 + d.IntN(6) {
			b = append(b, tokens[d.IntN(len(tokens))]...)
		}
		s := scanner{data: b}
		err := s.skip()
		if err == nil {
			err = s.end()
		}
		if (err == nil) != json.Valid(b) {
			t.Fatalf("%s: %v, encoding/json says %t", b, err, json.Valid(b))
		}
		if err == nil {
			valid++
		}
	}
	if valid < 1000 {
		t.Errorf("only %d valid texts", valid)
	}
	var want string
	quoted := []byte(`"a\"\\\/\b\f\n\r\t\u0041\u00E9\u20ac\uD83D\ude00é\u0000"`)
	s := scanner{data: quoted}
	got, fresh, err := s.text()
	if json.Unmarshal(quoted, &want) != nil || err != nil || !fresh || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func FuzzParse(f *testing.F) {
	small := trained(f, TrainOptions{Vocab: 270}, sample)
	data, err := small.JSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(plain(f, nil))
	for _, kind := range recordedKinds(f) {
		f.Add([]byte(kind.Tokenizer))
	}
	f.Add([]byte(`{"version":"1.0","normalizer":{"type":"Replace","pattern":{"Regex":" {2,}"},"content":"▁"},"pre_tokenizer":{"type":"Metaspace",` +
		`"replacement":"▁","add_prefix_space":true},"decoder":{"type":"Sequence","decoders":[{"type":"Fuse"},{"type":"Strip","content":" ","start":1,` +
		`"stop":0}]},"model":{"type":"WordPiece","unk_token":"a","continuing_subword_prefix":"##","max_input_chars_per_word":3,"vocab":{"a":0,"##b":1}}}`))
	f.Add([]byte(`{"version":"1.0","model":{"type":"BPE","vocab":{"a":2147483648},"merges":["a b"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := Parse(data)
		if err != nil {
			if fault.Of(err) != fault.Data {
				t.Errorf("kind of %v", err)
			}
			return
		}
		written, err := tok.JSON()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(written)
		if err != nil || again.Hash() != tok.Hash() {
			t.Errorf("written and read again: %v", err)
		}
		text := []byte(sample)
		ids, spans := tok.EncodeOffsets(text)
		if decoded := tok.Decode(ids); tok.Lossless() && !slices.Equal(decoded, text) {
			t.Error("lost text")
		}
		input, err := tok.EncodeInput(text, text, InputOptions{Specials: true, Truncate: true})
		if err != nil && fault.Of(err) != fault.Data || len(input.IDs) != len(input.Offsets) || len(ids) != len(spans) {
			t.Errorf("%d ids, %d spans, input %d, %d, %v", len(ids), len(spans), len(input.IDs), len(input.Offsets), err)
		}
	})
}
