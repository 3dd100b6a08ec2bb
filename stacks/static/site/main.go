// Site packs a folder of files at build time, and serves it.
//
//	site pack <repository> <folder>    writes the files, compressed as well where that helps, and their index
//	site serve <folder>                serves them on 0.0.0.0:$PORT until SIGTERM
package main

import (
	"fmt"
	"os"
)

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 3 && args[0] == "pack":
		err = pack(args[1], args[2])
	case len(args) == 2 && args[0] == "serve":
		err = serve(args[1])
	default:
		err = fmt.Errorf("usage: site pack <repository> <folder> | site serve <folder>")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
