// Package hf reads and writes folders of Hugging Face transformers: config.json, safetensors, tokenizer.json and its
// companions.
//
// A family (bert.go, roberta.go, gpt2.go, llama.go, modernbert.go) is a table of which tensor of theirs is which of ours, and a
// pair of functions between config.json and model.Config. The same table serves both directions (mapping.go), so that import
// and export cannot disagree. Nothing is dropped in silence: what is not taken over is named in a note, what is not understood
// in an error.
package hf
