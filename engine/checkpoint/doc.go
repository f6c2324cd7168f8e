// Package checkpoint keeps the state of a run on disk so that no crash can cost more than the steps since the last save.
//
// A checkpoint is a folder step-NNNNNNN of named files, tensors among them in safetensors, and a manifest.json that holds
// the size and SHA-256 of every file and of itself. It is written under a temporary name, synced file by file, and
// appears by one rename; a folder without its manifest is no checkpoint. When one is deleted its manifest goes first.
// Reading verifies every hash, always.
//
// One process owns a run folder (LockRun). At its start it calls Sweep, then Latest; in the run Save and Rotate.
package checkpoint
