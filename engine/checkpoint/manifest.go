package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"palimpsest/engine/vfs"
)

// FormatVersion is the version of the folder's layout and manifest that this program writes and the newest it reads.
const FormatVersion = 1

// maxManifest bounds what is read into memory for a manifest.
const maxManifest = 1 << 20

// manifest is manifest.json. Self is the SHA-256 of the file's own bytes with the 64 digits of Self taken as '0'; later
// versions keep that rule and the first key.
type manifest struct {
	Format  int            `json:"format"`
	Step    int64          `json:"step"`
	Created time.Time      `json:"created"`
	Files   []manifestFile `json:"files"`
	Self    string         `json:"manifest_sha256"`
}

type manifestFile struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// errNewer is the reason for refusing a checkpoint of a later version. It never leads to an older one being used: the
// steps since would be lost without a word.
var errNewer = errors.New("written by a newer version of palimpsest")

var (
	noSelf  = strings.Repeat("0", sha256.Size*2)
	selfKey = []byte(`"manifest_sha256": "`)
)

// encode returns the file's bytes, Self filled in.
func (m manifest) encode() ([]byte, error) {
	m.Self = noSelf
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	data = append(data, '\n')
	sum := sha256.Sum256(data)
	at := bytes.LastIndex(data, selfKey) + len(selfKey)
	hex.Encode(data[at:], sum[:])
	return data, nil
}

// decodeManifest checks version, self hash and contents.
func decodeManifest(data []byte) (manifest, error) {
	var m manifest
	var version struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return m, fmt.Errorf("%s is damaged: %w", manifestName, err)
	}
	if version.Format > FormatVersion {
		return m, fmt.Errorf("%w: format version %d, this program reads up to %d (hint: use the newer program, or "+
			"move the folder away)", errNewer, version.Format, FormatVersion)
	}
	at := bytes.LastIndex(data, selfKey) + len(selfKey)
	if at < len(selfKey) || at+len(noSelf) > len(data) {
		return m, fmt.Errorf("%s: its own hash is missing", manifestName)
	}
	blank := bytes.Clone(data)
	copy(blank[at:], noSelf)
	sum := sha256.Sum256(blank)
	if want := hex.EncodeToString(sum[:]); string(data[at:at+len(noSelf)]) != want {
		return m, fmt.Errorf("%s is damaged or was changed: its own hash does not match", manifestName)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%s: %w", manifestName, err)
	}
	if m.Format != FormatVersion || m.Step < 0 || len(m.Files) == 0 {
		return m, fmt.Errorf("%s: format %d, step %d, %d files make no checkpoint",
			manifestName, m.Format, m.Step, len(m.Files))
	}
	seen := map[string]bool{}
	for _, f := range m.Files {
		if err := checkFileName(f.Name); err != nil {
			return m, fmt.Errorf("%s: %w", manifestName, err)
		}
		if seen[f.Name] || f.Bytes < 0 {
			return m, fmt.Errorf("%s: %q appears twice or has a negative size", manifestName, f.Name)
		}
		seen[f.Name] = true
	}
	return m, nil
}

func readManifest(fsys vfs.FS, path string) (manifest, error) {
	name := filepath.Join(path, manifestName)
	info, err := fsys.Stat(name)
	if err != nil {
		return manifest{}, fmt.Errorf("no manifest, so the folder was never finished, or half deleted: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxManifest {
		return manifest{}, fmt.Errorf("%s: expected a file of at most %d bytes, it has %d", name, maxManifest, info.Size())
	}
	data, err := fsys.ReadFile(name)
	if err != nil {
		return manifest{}, err
	}
	return decodeManifest(data)
}

// checkFileName admits plain names only: nothing that leads out of the folder, hides, or stands for the manifest.
func checkFileName(name string) error {
	if name == "" || name == manifestName || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\\:\x00") {
		return fmt.Errorf("%q is no name for a file of a checkpoint", name)
	}
	return nil
}
