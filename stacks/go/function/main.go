// The program around a package's functions: it serves them, or with --exports says which there are.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sort"
	"strconv"
	"syscall"
	"time"
)

// idle is longer than nginx keeps a connection (60 s): it must not be closed here when nginx is about to use it.
const idle = 75 * time.Second

// backlog is how many connections may wait until they are accepted: at a socket, one more is refused at once.
const backlog = 4096

func main() {
	served, err := exportsOf(functions)
	if err == nil && len(os.Args) == 2 && os.Args[1] == "--exports" {
		err = describe(served)
	} else if err == nil {
		err = serve(served)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// describe prints the exports, sorted by name.
func describe(served map[string]export) error {
	names := make([]string, 0, len(served))
	for name := range served {
		names = append(names, name)
	}
	sort.Strings(names)
	listed := make([]description, 0, len(names))
	for _, name := range names {
		listed = append(listed, served[name].describe(name))
	}
	return json.NewEncoder(os.Stdout).Encode(listed)
}

// listen takes connections at the socket that is the descriptor $COREFN_SOCKET if that is set, else on 0.0.0.0:$PORT.
func listen() (net.Listener, error) {
	if text := os.Getenv("COREFN_SOCKET"); text != "" {
		number, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("COREFN_SOCKET is no number: %q", text)
		}
		if err := syscall.Listen(number, backlog); err != nil {
			return nil, os.NewSyscallError("listen", err)
		}
		// (The listener is another descriptor of it.)
		file := os.NewFile(uintptr(number), "COREFN_SOCKET")
		defer file.Close()
		return net.FileListener(file)
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	return net.Listen("tcp", "0.0.0.0:"+port)
}

// serve answers until SIGTERM, and then finishes what it has begun.
func serve(served map[string]export) error {
	listener, err := listen()
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler(served), IdleTimeout: idle}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		<-stop.Done()
		ended <- server.Shutdown(context.Background())
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}
