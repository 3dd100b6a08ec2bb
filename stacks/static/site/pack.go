package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// tagDigits is how many digits of the SHA-256 make a tag: 128 bits.
const tagDigits = 32

// pack writes the files of a repository's site, and their index, into a folder.
func pack(repository, to string) error {
	site, err := siteOf(repository)
	if err != nil {
		return err
	}
	found := index{}
	var size, compressed int64
	err = filepath.WalkDir(site, func(file string, item fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(site, file)
		if err != nil {
			return err
		}
		if name != "." && isHidden(name) {
			if item.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		// A link, which leads to somewhere in the repository, is followed to a file.
		if about, err := os.Stat(file); err != nil || !about.Mode().IsRegular() {
			return err
		}
		contents, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		small, err := add(found, filepath.Join(to, filesFolder), filepath.ToSlash(name), contents)
		size += int64(len(contents))
		compressed += int64(small)
		return err
	})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return errors.New("there are no files to serve: add an index.html")
	}
	text, err := json.Marshal(found)
	if err != nil {
		return err
	}
	fmt.Printf("Files: %d, %d kB, of which %d kB travel compressed\n", len(found), (size+999)/1000, (compressed+999)/1000)
	return os.WriteFile(filepath.Join(to, indexFile), text, 0o644)
}

// siteOf returns the folder of a repository that is served: public, if there is no page at the root.
func siteOf(repository string) (string, error) {
	if _, err := os.Stat(filepath.Join(repository, "index.html")); err == nil {
		return repository, nil
	}
	public := filepath.Join(repository, "public")
	about, err := os.Stat(public)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !about.IsDir() {
		return repository, nil
	}
	return public, err
}

// isHidden says whether a file, or a folder with all that is in it, is none of the site's.
func isHidden(name string) bool {
	base := filepath.Base(name)
	return name == "corefn.toml" || strings.HasPrefix(base, ".") && base != ".well-known"
}

// add writes a file, and a compressed copy where that is smaller, and returns how many bytes travel compressed.
func add(found index, to, name string, contents []byte) (int, error) {
	hash := sha256.Sum256(contents)
	item := entry{Type: typeOf(name, contents), Tag: hex.EncodeToString(hash[:])[:tagDigits]}
	file := filepath.Join(to, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return 0, err
	}
	if err := os.WriteFile(file, contents, 0o644); err != nil {
		return 0, err
	}
	small, err := compress(contents)
	if err != nil {
		return 0, err
	}
	if len(small) < len(contents)*9/10 {
		item.Gzip = true
		if err := os.WriteFile(file+".gz", small, 0o644); err != nil {
			return 0, err
		}
	}
	found["/"+name] = item
	if !item.Gzip {
		return 0, nil
	}
	return len(small), nil
}

// typeOf is a file's media type: by its name, else by its first bytes. Text is taken for UTF-8.
func typeOf(name string, contents []byte) string {
	kind := mime.TypeByExtension(path.Ext(name))
	if kind == "" {
		kind = http.DetectContentType(contents)
	}
	if strings.HasPrefix(kind, "text/") && !strings.Contains(kind, "charset") {
		kind += "; charset=utf-8"
	}
	return kind
}

// compress returns the same bytes for the same contents, whenever it is.
func compress(contents []byte) ([]byte, error) {
	var small bytes.Buffer
	writer, err := gzip.NewWriterLevel(&small, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := writer.Write(contents); err != nil {
		return nil, err
	}
	err = writer.Close()
	return small.Bytes(), err
}
