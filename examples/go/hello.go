// Package hello has first functions: text and JSON in, text and JSON out.
package hello

import (
	"fmt"
	"time"
)

// Operands are two numbers: {"A":1,"B":2}.
type Operands struct{ A, B int64 }

// Answer is what came out: {"Result":3}.
type Answer struct{ Result int64 }

func HelloWorld() string {
	return "Hello world!"
}

func SayHello(name string) string {
	return fmt.Sprintf("Hello, %s!", name)
}

// Now is the time, as RFC 3339 has it.
func Now() string {
	return time.Now().UTC().Format(time.RFC3339Nano)
}

func Add(operands Operands) Answer {
	return Answer{operands.A + operands.B}
}

func Multiply(operands Operands) Answer {
	return Answer{operands.A * operands.B}
}
