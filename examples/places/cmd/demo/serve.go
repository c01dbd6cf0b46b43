package main

import (
	"context"
	_ "embed"
	"errors"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/asidego/aside/examples/places/server"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// serve leaves the cached service open, with a page in front, until ctx ends.
func (d *demo) serve(ctx context.Context, cached *service) error {
	ln, err := net.Listen("tcp", d.addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		host, _, _ := net.SplitHostPort(d.addr)
		ln, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	if err != nil {
		return err
	}
	base := "http://" + ln.Addr().String()
	report := strings.TrimSpace(d.report.String())
	mux := http.NewServeMux()
	mux.Handle("/", cached.handler)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_ = page.Execute(w, map[string]any{"Report": report, "Slug": d.slugs[0]}) // the client is gone
	})
	d.title("Serving on " + base + " until Ctrl-C. Try:")
	d.say("curl -i %s/cities/1", base)
	d.say("curl -i %s/cities/by-slug/%s", base, d.slugs[0])
	d.say("curl '%s/cities?ids=3,1,2'", base)
	d.say("curl '%s/regions/AD.03/cities?limit=3'", base)
	d.say(`curl -i -X PATCH -H 'Content-Type: application/json' -d '{"population":2044}' %s/cities/1`, base)
	d.say("curl %s/stats", base)
	return server.Run(ctx, ln, mux, slog.New(slog.DiscardHandler))
}
