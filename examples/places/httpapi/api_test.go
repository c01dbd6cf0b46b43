package httpapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// request is a step of a conversation: what is sent and what must come back.
type request struct {
	method, path, body string
	header             string // "Name: value"
	status             int
	want               string // part of the answer's body
}

const merge = "Content-Type: application/merge-patch+json"

// conversation is the same for every backend, and so must the answers be. It reads before it writes, so that a cache has
// what the writes must drop, and after.
var conversation = []request{
	{"GET", "/cities/1", "", "", 200, `"slug":"ad-canillo-1"`},
	{"GET", "/cities/1", "", "", 200, `"population":null,"version":1`},
	{"GET", "/cities/1", "", `If-None-Match: "1"`, 304, ""},
	{"GET", "/cities/by-slug/ad-canillo-1", "", "", 200, `"id":1,`},
	{"GET", "/cities/by-slug/ad-sant-julià-de-lòria-12", "", "", 200, `"name":"Sant Julià de Lòria"`},
	{"GET", "/cities?ids=3,1,999,3", "", "", 200, `{"items":[{"id":3,`},
	{"GET", "/cities?ids=999", "", "", 200, `{"items":[]}`},
	{"GET", "/regions/AD.03", "", "", 200, `{"code":"AD.03","name":"Encamp","country":"AD"}`},
	{"GET", "/countries/AD", "", "", 200, `{"code":"AD","name":"Andorra"}`},
	{"GET", "/regions/AD.99/cities", "", "", 200, `{"items":[]}`},

	{"GET", "/cities/999", "", "", 404, `"not_found"`},
	{"GET", "/cities/999", "", "", 404, `"not_found"`}, // now perhaps from the cache
	{"GET", "/cities/by-slug/ad-nowhere-1", "", "", 404, `"not_found"`},
	{"GET", "/cities/by-slug/%00", "", "", 404, `"not_found"`},
	{"GET", "/cities/by-slug/%ff", "", "", 404, `"not_found"`},
	{"GET", "/regions/AD.98/cities", "", "", 404, `"not_found"`},
	{"GET", "/nothing", "", "", 404, `"no_route"`},
	{"GET", "/cities/berlin", "", "", 400, `"bad_id"`},
	{"GET", "/cities/0", "", "", 400, `"bad_id"`},
	{"GET", "/cities/9223372036854775808", "", "", 400, `"bad_id"`},
	{"GET", "/cities", "", "", 400, `"bad_ids"`},
	{"GET", "/cities?ids=1,,2", "", "", 400, `"bad_id"`},
	{"GET", "/cities?ids=1" + strings.Repeat(",1", 100), "", "", 400, `"too_many_ids"`},
	{"GET", "/regions/AD.03/cities?limit=0", "", "", 400, `"bad_limit"`},
	{"GET", "/regions/AD.03/cities?limit=201", "", "", 400, `"bad_limit"`},
	{"GET", "/regions/AD.03/cities?after=!", "", "", 400, `"bad_cursor"`},

	{"PATCH", "/cities/1", `{"population":2044}`, merge, 200, `"population":2044,"version":2`},
	{"GET", "/cities/1", "", `If-None-Match: "1"`, 200, `"population":2044,"version":2`},
	{"GET", "/cities/by-slug/ad-canillo-1", "", "", 200, `"population":2044,"version":2`},
	{"GET", "/cities?ids=1,2", "", "", 200, `"population":2044,"version":2`},
	{"PATCH", "/cities/1", `{"name":" Canillo! ","population":null}`, "Content-Type: application/json; charset=utf-8", 200, `"population":null,"version":3`},
	{"PATCH", "/cities/1", `{"name":"Canillo!"}`, merge, 200, `"version":3`}, // changes nothing
	{"GET", "/cities/1", "", "", 200, `"name":"Canillo!"`},

	// A slug moves: the old one finds nothing, the new one the city, also where both were asked for before.
	{"GET", "/cities/by-slug/canillo", "", "", 404, `"not_found"`},
	{"PATCH", "/cities/1", `{"slug":"canillo"}`, merge, 200, `"version":4`},
	{"GET", "/cities/by-slug/canillo", "", "", 200, `"id":1,`},
	{"GET", "/cities/by-slug/ad-canillo-1", "", "", 404, `"not_found"`},
	{"PATCH", "/cities/2", `{"slug":"canillo"}`, merge, 409, `"duplicate"`},
	{"GET", "/cities/2", "", "", 200, `"slug":"ad-el-tarter-2"`},

	{"PATCH", "/cities/3", `{"population":1}`, `If-Match: "7"`, 415, `"bad_type"`},
	{"PATCH", "/cities/3", `{"population":1}`, merge + "\n" + `If-Match: "7"`, 412, `"changed"`},
	{"PATCH", "/cities/3", `{"population":1}`, merge + "\n" + `If-Match: W/"1"`, 412, `"changed"`},
	{"PATCH", "/cities/3", `{"population":1}`, merge + "\n" + `If-Match: "7", "1"`, 200, `"version":2`},
	{"PATCH", "/cities/3", `{"population":2}`, merge + "\n" + `If-Match: *`, 200, `"version":3`},

	{"PATCH", "/cities/999", `{"population":1}`, merge, 404, `"not_found"`},
	{"PATCH", "/cities/x", `{"population":1}`, merge, 400, `"bad_id"`},
	{"PATCH", "/cities/1", `{"id":7}`, merge, 400, `"unknown_field"`},
	{"PATCH", "/cities/1", `{"Name":"x"}`, merge, 400, `"unknown_field"`},
	{"PATCH", "/cities/1", `{}`, merge, 400, `"empty"`},
	{"PATCH", "/cities/1", `null`, merge, 400, `"bad_json"`},
	{"PATCH", "/cities/1", `{"name":"x"} {}`, merge, 400, `"bad_json"`},
	{"PATCH", "/cities/1", `{"name":null}`, merge, 400, `"bad_value"`},
	{"PATCH", "/cities/1", `{"name":" "}`, merge, 400, `"bad_value"`},
	{"PATCH", "/cities/1", `{"name":"a\u0000b"}`, merge, 400, `"bad_value"`},
	{"PATCH", "/cities/1", `{"slug":"No Slug"}`, merge, 400, `"bad_value"`},
	{"PATCH", "/cities/1", `{"population":-1}`, merge, 400, `"bad_value"`},
	{"PATCH", "/cities/1", `{"population":1.5}`, merge, 400, `"bad_value"`},
	{"PATCH", "/cities/1", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, merge, 413, `"too_large"`},
	{"DELETE", "/cities/1", "", "", 405, `"bad_method"`},
}

func TestConversationIsTheSameOnEveryBackend(t *testing.T) {
	t.Parallel()
	first := make([]string, len(conversation))
	for i, backend := range backends { // in order: the others are compared with the first
		t.Run(backend.name, func(t *testing.T) {
			h := backend.open(t)
			for n, step := range conversation {
				status, header, body := ask(h, step)
				if status != step.status || !strings.Contains(body, step.want) {
					t.Errorf("%s %s %s: %d %s, want %d with %s", step.method, step.path, step.body, status, body, step.status, step.want)
				}
				whole := fmt.Sprint(status, header.Get("ETag"), header.Get("Content-Type"), body)
				if i == 0 {
					first[n] = whole
				} else if whole != first[n] {
					t.Errorf("%s %s %s:\n%s, but on %s\n%s", step.method, step.path, step.body, whole, backends[0].name, first[n])
				}
			}
		})
	}
}

func TestPagesFollowEachOther(t *testing.T) {
	t.Parallel()
	for _, backend := range backends {
		t.Run(backend.name, func(t *testing.T) {
			t.Parallel()
			h := backend.open(t)
			var names []string
			path := "/regions/AD.03/cities?limit=3"
			for path != "" {
				status, _, body := ask(h, request{method: "GET", path: path})
				var got struct {
					Items []struct{ Name string }
					Next  string
				}
				if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 {
					t.Fatalf("%s: %d %s", path, status, body)
				}
				for _, c := range got.Items {
					names = append(names, c.Name)
				}
				path = ""
				if got.Next != "" {
					path = "/regions/AD.03/cities?limit=3&after=" + got.Next
					foreign := request{method: "GET", path: "/regions/AD.04/cities?after=" + got.Next}
					if status, _, body := ask(h, foreign); status != 400 {
						t.Errorf("another region's cursor: %d %s", status, body)
					}
				}
			}
			if got, want := strings.Join(names, ", "), "Encamp, Les Bons, Pas de la Casa, Vila"; got != want {
				t.Errorf("pages have %s, want %s", got, want)
			}
		})
	}
}

func ask(h http.Handler, step request) (status int, header http.Header, body string) {
	r := httptest.NewRequest(step.method, strings.ReplaceAll(step.path, " ", "%20"), strings.NewReader(step.body))
	for line := range strings.Lines(step.header) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	text, _ := io.ReadAll(w.Result().Body)
	return w.Code, w.Result().Header, string(text)
}
