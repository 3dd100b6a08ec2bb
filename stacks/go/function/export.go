package main

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"
)

// export is a function that is called by its name. It may take a context, and may take one argument: a string or bytes,
// the body as it is, or any other type, the body as JSON. It may return a value, an error, or both in this order.
type export struct {
	call     reflect.Value
	context  bool
	argument reflect.Type
	answer   reflect.Type
	fails    bool
}

// description is what the platform is told of an export: stacks/README.md has the form.
type description struct {
	Name     string `json:"name"`
	Argument string `json:"argument,omitempty"`
	Answer   string `json:"answer,omitempty"`
	Example  string `json:"example,omitempty"`
}

var (
	contextType = reflect.TypeOf((*context.Context)(nil)).Elem()
	errorType   = reflect.TypeOf((*error)(nil)).Elem()
	bytesType   = reflect.TypeOf([]byte(nil))
	timeType    = reflect.TypeOf(time.Time{})
)

// exportsOf looks at functions. One that can't be called with a body is an error that says why.
func exportsOf(functions map[string]any) (map[string]export, error) {
	found := make(map[string]export, len(functions))
	for name, function := range functions {
		made, err := exportOf(reflect.ValueOf(function))
		if err != nil {
			return nil, fmt.Errorf("%s %w", name, err)
		}
		found[name] = made
	}
	return found, nil
}

func exportOf(call reflect.Value) (export, error) {
	made, kind := export{call: call}, call.Type()
	var taken []reflect.Type
	for number := 0; number < kind.NumIn(); number++ {
		taken = append(taken, kind.In(number))
	}
	if len(taken) > 0 && taken[0] == contextType {
		made.context, taken = true, taken[1:]
	}
	if len(taken) > 1 || kind.IsVariadic() {
		return made, fmt.Errorf("takes %d arguments: an exported function takes a context or not, and nothing or one, "+
			"which may be a struct; give helpers a small letter", len(taken))
	}
	if len(taken) == 1 {
		made.argument = taken[0]
	}
	returned := kind.NumOut()
	if returned > 0 && kind.Out(returned-1) == errorType {
		made.fails, returned = true, returned-1
	}
	if returned > 1 {
		return made, fmt.Errorf("returns %d values: an exported function returns nothing or one, and an error or not; "+
			"give helpers a small letter", returned)
	}
	if returned == 1 {
		made.answer = kind.Out(0)
	}
	return made, nil
}

func (e export) describe(name string) description {
	described := description{Name: name, Argument: nameOf(e.argument), Answer: nameOf(e.answer)}
	if described.Argument == "json" {
		if text, err := json.Marshal(sample(e.argument, 0).Interface()); err == nil {
			described.Example = string(text)
		}
	}
	return described
}

// nameOf says what a body of a type is. Bytes are what the request or the function says they are.
func nameOf(kind reflect.Type) string {
	switch {
	case kind == nil:
		return "none"
	case kind == bytesType:
		return ""
	case kind.Kind() == reflect.String:
		return "text"
	default:
		return "json"
	}
}

// sample is a made-up value of a type: an example for people, that can be read as the type.
func sample(kind reflect.Type, depth int) reflect.Value {
	const deepest = 6
	made := reflect.New(kind).Elem()
	if depth > deepest || kind == timeType {
		return made
	}
	switch kind.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		made.SetInt(1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		made.SetUint(1)
	case reflect.Float32, reflect.Float64:
		made.SetFloat(1)
	case reflect.String:
		made.SetString("text")
	case reflect.Slice:
		if kind != bytesType {
			made = reflect.Append(made, sample(kind.Elem(), depth+1))
		}
	case reflect.Map:
		made.Set(reflect.MakeMap(kind))
	case reflect.Pointer:
		made.Set(reflect.New(kind.Elem()))
		made.Elem().Set(sample(kind.Elem(), depth+1))
	case reflect.Struct:
		for number := 0; number < kind.NumField(); number++ {
			if kind.Field(number).IsExported() {
				made.Field(number).Set(sample(kind.Field(number).Type, depth+1))
			}
		}
	}
	return made
}
