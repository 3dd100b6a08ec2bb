package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"runtime/debug"
	"unicode/utf8"
)

const text = "text/plain; charset=utf-8"

// handler answers for exports, by the path.
func handler(served map[string]export) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		called, is := served[r.URL.Path[min(1, len(r.URL.Path)):]]
		if !is {
			reply(w, http.StatusNotFound, text, []byte("There is no such function\n"))
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			// The client is gone, or has sent what is no body.
			reply(w, http.StatusBadRequest, text, []byte(err.Error()))
			return
		}
		argument, err := called.read(body)
		if err != nil {
			reply(w, http.StatusBadRequest, text, []byte("The body isn't the function's argument: "+err.Error()))
			return
		}
		returned, err := called.run(r.Context(), argument)
		if err != nil {
			fmt.Fprintln(os.Stderr, r.URL.Path[1:]+":", err)
			reply(w, http.StatusInternalServerError, text, []byte(err.Error()))
			return
		}
		answer(w, returned)
	})
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}

// read makes the argument of a body.
func (e export) read(body []byte) (reflect.Value, error) {
	if e.argument == nil {
		return reflect.Value{}, nil
	}
	made := reflect.New(e.argument)
	switch {
	case e.argument == bytesType:
		made.Elem().SetBytes(body)
	case e.argument.Kind() == reflect.String:
		if !utf8.Valid(body) {
			return made, errors.New("it is no UTF-8")
		}
		made.Elem().SetString(string(body))
	default:
		if err := json.Unmarshal(body, made.Interface()); err != nil {
			return made, at(body, err)
		}
	}
	return made.Elem(), nil
}

// at says where in a body an error of JSON is, if it says so itself.
func at(body []byte, err error) error {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return err
	}
	before := body[:min(int(syntax.Offset), len(body))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := len(before) - (bytes.LastIndexByte(before, '\n') + 1)
	return fmt.Errorf("%w at line %d, column %d", err, line, column)
}

// run calls the function. A panic ends the call, and not the program.
func (e export) run(context context.Context, argument reflect.Value) (returned any, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n%s", cause, debug.Stack())
			err = fmt.Errorf("the function panicked: %v", cause)
		}
	}()
	var given []reflect.Value
	if e.context {
		given = append(given, reflect.ValueOf(context))
	}
	if e.argument != nil {
		given = append(given, argument)
	}
	values := e.call.Call(given)
	if e.fails {
		if err, is := values[len(values)-1].Interface().(error); is {
			return nil, err
		}
	}
	if e.answer == nil {
		return nil, nil
	}
	return values[0].Interface(), nil
}

// answer sends what a function has returned: text as it is, bytes as they are, nothing an empty answer, and everything
// else as JSON.
func answer(w http.ResponseWriter, returned any) {
	value := reflect.ValueOf(returned)
	switch {
	case returned == nil, value.Kind() == reflect.Pointer && value.IsNil():
		w.WriteHeader(http.StatusNoContent)
	case value.Type() == bytesType:
		reply(w, http.StatusOK, "application/octet-stream", value.Bytes())
	case value.Kind() == reflect.String:
		reply(w, http.StatusOK, text, []byte(value.String()))
	default:
		body, err := json.Marshal(returned)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			reply(w, http.StatusInternalServerError, text, []byte(err.Error()))
			return
		}
		reply(w, http.StatusOK, "application/json", body)
	}
}

func reply(w http.ResponseWriter, status int, kind string, body []byte) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	// (A client that has gone needs no answer.)
	_, _ = w.Write(body)
}
