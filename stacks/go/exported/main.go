// Exported prints the names of the exported functions of the Go files that it is given, one a line.
// Methods and functions with type parameters are none.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
)

func main() {
	files := token.NewFileSet()
	for _, name := range os.Args[1:] {
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		for _, declared := range file.Decls {
			function, is := declared.(*ast.FuncDecl)
			if is && function.Recv == nil && function.Type.TypeParams == nil && function.Name.IsExported() {
				fmt.Println(function.Name)
			}
		}
	}
}
