// Package text turns files into documents and documents into token ids: readers of plain text, JSON lines (text, prompt and
// completion, alpaca, messages, entity spans), tables and CoNLL files, all of them plain or compressed, and tokenizers that
// are trained here (byte-level BPE, WordPiece) or read from Hugging Face's tokenizer.json (these, Unigram, BPE of characters)
// with the same ids and offsets as the library of that file, and written there. What a record says about its text, answers
// and entities, becomes planes: one byte for each token.
//
// Tokenizers of bytes without a normalizer are lossless (Tokenizer.Lossless): Decode(Encode(b)) equals b for any b, valid
// UTF-8 or not. Others normalize as their file says. Errors about files have the kind fault.Data.
package text
