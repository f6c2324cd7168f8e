// Package text turns files into documents and documents into token ids: readers of plain text and JSON lines, and a
// byte-level BPE tokenizer that is trained here and read from or written to Hugging Face's tokenizer.json.
//
// Everything works on bytes: no input is normalised, and every tokenizer covers all 256 byte values, so that
// Decode(Encode(b)) equals b for any b, valid UTF-8 or not. Errors about files have the kind fault.Data.
package text
