// Package text turns files into documents and documents into token ids: readers of plain text, JSON lines (text, prompt and
// completion, alpaca, messages, entity spans), tables and CoNLL files, all of them plain or compressed, and a byte-level BPE
// tokenizer that is trained here and read from or written to Hugging Face's tokenizer.json. What a record says about its
// text, answers and entities, becomes planes: one byte for each token.
//
// Everything works on bytes: no input is normalised, and every tokenizer covers all 256 byte values, so that
// Decode(Encode(b)) equals b for any b, valid UTF-8 or not. Errors about files have the kind fault.Data.
package text
