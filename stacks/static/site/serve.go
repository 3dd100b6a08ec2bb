package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// idle is longer than nginx keeps a connection (60 s): it must not be closed here when nginx is about to use it.
const idle = 75 * time.Second

// site is a packed folder that is served.
type site struct {
	folder string
	files  index
}

// serve serves a packed folder until SIGTERM, and then finishes what it has begun.
func serve(folder string) error {
	text, err := os.ReadFile(filepath.Join(folder, indexFile))
	if err != nil {
		return err
	}
	served := site{folder: filepath.Join(folder, filesFolder)}
	if err := json.Unmarshal(text, &served.files); err != nil {
		return err
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	server := &http.Server{Addr: "0.0.0.0:" + port, Handler: served, IdleTimeout: idle}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		<-stop.Done()
		ended <- server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}

func (s site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "Files can only be read", http.StatusMethodNotAllowed)
		return
	}
	name, status := s.find(r.URL.Path)
	switch status {
	case http.StatusMovedPermanently:
		// (The path is the client's own, but for what the platform has taken off its front and puts there again.)
		to := *r.URL
		to.Path, to.RawPath = name, ""
		http.Redirect(w, r, to.RequestURI(), status)
	case http.StatusNotFound:
		s.missing(w, r)
	default:
		s.send(w, r, name)
	}
}

// find returns the file that answers for a path: itself, a folder's index.html, or a page without its .html. What is
// asked for as a file and is a folder is somewhere else, with a slash.
func (s site) find(asked string) (string, int) {
	has := func(name string) bool {
		_, is := s.files[name]
		return is
	}
	clean := path.Clean("/" + asked)
	switch {
	case strings.HasSuffix(asked, "/"):
		if page := path.Join(clean, "index.html"); has(page) {
			return page, http.StatusOK
		}
	case has(clean):
		return clean, http.StatusOK
	case has(clean + ".html"):
		return clean + ".html", http.StatusOK
	case has(path.Join(clean, "index.html")):
		return clean + "/", http.StatusMovedPermanently
	}
	return "", http.StatusNotFound
}

// send answers with a file: whole, in part, or not at all if the client has it.
func (s site) send(w http.ResponseWriter, r *http.Request, name string) {
	item := s.files[name]
	header := w.Header()
	header.Set("Content-Type", item.Type)
	header.Set("X-Content-Type-Options", "nosniff")
	// Caches keep it, and ask whether it is still the same: after a push it may not be.
	header.Set("Cache-Control", "no-cache")
	file, tag := filepath.Join(s.folder, filepath.FromSlash(name)), item.Tag
	if item.Gzip {
		header.Set("Vary", "Accept-Encoding")
		if takesGzip(r) {
			file, tag = file+".gz", tag+"-gzip"
			header.Set("Content-Encoding", "gzip")
		}
	}
	header.Set("ETag", `"`+tag+`"`)
	opened, err := os.Open(file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer opened.Close()
	http.ServeContent(w, r, name, time.Time{}, opened)
}

// missing answers for what isn't there: with 404.html, if the site has one.
func (s site) missing(w http.ResponseWriter, r *http.Request) {
	item, is := s.files["/404.html"]
	if !is {
		http.Error(w, "There is no such file", http.StatusNotFound)
		return
	}
	page, err := os.ReadFile(filepath.Join(s.folder, "404.html"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", item.Type)
	w.WriteHeader(http.StatusNotFound)
	_, _ = w.Write(page)
}

// takesGzip says whether the client takes a compressed answer. A part is asked for of what the file is itself.
func takesGzip(r *http.Request) bool {
	if r.Header.Get("Range") != "" {
		return false
	}
	for _, coding := range strings.Split(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		refused := strings.ReplaceAll(strings.TrimSpace(weight), " ", "")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			return strings.Trim(strings.TrimPrefix(refused, "q="), "0.") != "" || refused == ""
		}
	}
	return false
}
