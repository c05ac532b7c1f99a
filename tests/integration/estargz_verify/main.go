// Command estargz_verify opens eStargz layers with containerd's own library and verifies all that they hold.
//
// Each argument is a layer's folder: `blob`, and `layer.json` with the digest of the table of contents. For each it
// reads every regular file the way a lazy pull does, chunk by chunk, holds each chunk against its digest and each
// file against its own, and prints one line. It ends with status 1 if anything is wrong.
//
// Debian's golang-go and golang-github-containerd-stargz-snapshotter-dev suffice to build it, without a network:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go build -o estargz-verify main.go
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/containerd/stargz-snapshotter/estargz"
	digest "github.com/opencontainers/go-digest"
)

const tocDigestAnnotation = "containerd.io/snapshot/stargz/toc.digest"

type layer struct {
	Annotations map[string]string `json:"annotations"`
}

type counts struct {
	directories, files, links, chunks int
	bytes                             int64
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: estargz-verify LAYER_FOLDER...")
		os.Exit(2)
	}
	failed := false
	for _, folder := range os.Args[1:] {
		n, err := verify(folder)
		if err != nil {
			failed = true
			fmt.Printf("%s: %v\n", folder, err)
			continue
		}
		fmt.Printf("%s: ok, %d directories, %d files, %d links, %d chunks, %d bytes\n",
			folder, n.directories, n.files, n.links, n.chunks, n.bytes)
	}
	if failed {
		os.Exit(1)
	}
}

func verify(folder string) (counts, error) {
	var n counts
	text, err := os.ReadFile(filepath.Join(folder, "layer.json"))
	if err != nil {
		return n, err
	}
	var l layer
	if err := json.Unmarshal(text, &l); err != nil {
		return n, fmt.Errorf("reading layer.json: %w", err)
	}
	blob, err := os.Open(filepath.Join(folder, "blob"))
	if err != nil {
		return n, err
	}
	defer blob.Close()
	stat, err := blob.Stat()
	if err != nil {
		return n, err
	}
	reader, err := estargz.Open(io.NewSectionReader(blob, 0, stat.Size()))
	if err != nil {
		return n, fmt.Errorf("opening the blob: %w", err)
	}
	verifier, err := reader.VerifyTOC(digest.Digest(l.Annotations[tocDigestAnnotation]))
	if err != nil {
		return n, fmt.Errorf("verifying the table of contents: %w", err)
	}
	root, ok := reader.Lookup("")
	if !ok {
		return n, fmt.Errorf("the layer has no root")
	}
	return n, walk(reader, verifier, root, "", &n)
}

func walk(r *estargz.Reader, v estargz.TOCEntryVerifier, dir *estargz.TOCEntry, name string, n *counts) error {
	var failure error
	dir.ForeachChild(func(base string, entry *estargz.TOCEntry) bool {
		child := path.Join(name, base)
		switch entry.Type {
		case "dir":
			n.directories++
			failure = walk(r, v, entry, child, n)
		case "reg":
			if path.Clean(entry.Name) != child {
				n.links++ // a hard link's entry is that of the file it stands for
				break
			}
			n.files++
			failure = verifyFile(r, v, entry, child, n)
		default:
			n.links++
		}
		return failure == nil
	})
	return failure
}

func verifyFile(r *estargz.Reader, v estargz.TOCEntryVerifier, entry *estargz.TOCEntry, name string, n *counts) error {
	if entry.Size == 0 {
		return nil
	}
	file, err := r.OpenFile(name)
	if err != nil {
		return fmt.Errorf("opening %s: %w", name, err)
	}
	whole := sha256.New()
	for offset := int64(0); offset < entry.Size; {
		chunk, ok := r.ChunkEntryForOffset(name, offset)
		if !ok {
			return fmt.Errorf("%s: no chunk holds offset %d", name, offset)
		}
		check, err := v.Verifier(chunk)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		data := make([]byte, chunk.ChunkSize)
		if _, err := file.ReadAt(data, offset); err != nil && err != io.EOF {
			return fmt.Errorf("reading %s at %d: %w", name, offset, err)
		}
		if _, err := check.Write(data); err != nil {
			return err
		}
		if !check.Verified() {
			return fmt.Errorf("%s: the chunk at %d has another digest", name, offset)
		}
		whole.Write(data)
		offset += chunk.ChunkSize
		n.chunks++
		n.bytes += chunk.ChunkSize
	}
	if found := "sha256:" + hex.EncodeToString(whole.Sum(nil)); found != entry.Digest {
		return fmt.Errorf("%s has digest %s, the table of contents says %s", name, found, entry.Digest)
	}
	return nil
}
