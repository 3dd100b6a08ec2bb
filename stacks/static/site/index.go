package main

// indexFile is the name of the index in a packed folder, and filesFolder what the files are in.
const (
	indexFile   = "index.json"
	filesFolder = "files"
)

// index says what there is to serve, by the path of the URL.
type index map[string]entry

// entry is a file. Its times say nothing, since images keep none: what it holds makes its tag.
type entry struct {
	// Type is the value of Content-Type.
	Type string `json:"type"`
	// Tag is the strong entity tag, without quotes: hexadecimal digits of the SHA-256 of the contents.
	Tag string `json:"tag"`
	// Gzip says that there is a compressed copy beside the file, with .gz at its end.
	Gzip bool `json:"gzip,omitempty"`
}
