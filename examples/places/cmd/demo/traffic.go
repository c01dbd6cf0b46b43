package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The mix, in percent; the rest asks for several cities at once.
const (
	byID    = 70
	bySlug  = 20
	several = 20 // cities in one request
)

// traffic is what one client asks for, one request after the other. Two clients with the same seed ask for the same.
type traffic struct {
	rng   *rand.Rand
	zipf  *rand.Zipf
	slugs []string
}

// Zipf's law is what the popularity of pages, products and places looks like. With these numbers and all cities, a
// tenth of them gets nine tenths of the requests, and the most popular one 3 %.
func newTraffic(seed, client uint64, slugs []string) *traffic {
	rng := rand.New(rand.NewPCG(seed, client))
	return &traffic{rng, rand.NewZipf(rng, 1.2, 8, uint64(len(slugs)-1)), slugs}
}

// city draws an id. Ranks are spread over the table, or the most popular cities would all be in Andorra.
func (t *traffic) city() int64 {
	const prime = 104_729
	return int64(t.zipf.Uint64()*prime%uint64(len(t.slugs))) + 1
}

// next returns a path and how many rows it asks for.
func (t *traffic) next() (path string, rows int) {
	switch draw := t.rng.IntN(100); {
	case draw < byID:
		return "/cities/" + strconv.FormatInt(t.city(), 10), 1
	case draw < byID+bySlug:
		return "/cities/by-slug/" + t.slugs[t.city()-1], 1
	}
	var ids []string
	for len(ids) < several {
		if id := strconv.FormatInt(t.city(), 10); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return "/cities?ids=" + strings.Join(ids, ","), several
}

// outcome is what came of traffic.
type outcome struct {
	rows       int
	latencies  []time.Duration // one for each request
	failed     int
	failure    error // the first
	took       time.Duration
	hits       int // rows that came from the cache
	statements int // that reached PostgreSQL
}

func (o *outcome) add(p outcome) {
	o.rows += p.rows
	o.latencies = append(o.latencies, p.latencies...)
	o.failed += p.failed
	if o.failure == nil {
		o.failure = p.failure
	}
	o.took += p.took
	o.hits += p.hits
	o.statements += p.statements
}

func (o *outcome) perSecond() int { return int(float64(len(o.latencies)) / o.took.Seconds()) }

// at returns a quantile of the latencies, which must be sorted.
func (o *outcome) at(q float64) time.Duration {
	if len(o.latencies) == 0 {
		return 0
	}
	return o.latencies[int(q*float64(len(o.latencies)-1))]
}

// drive has clients send requests, each its next when the last was answered, until ctx ends.
func drive(ctx context.Context, url string, clients int, seed uint64, slugs []string) outcome {
	client := newClient(clients)
	defer client.CloseIdleConnections()
	start := time.Now()
	parts := make([]outcome, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			t, o := newTraffic(seed, uint64(i), slugs), &parts[i]
			for ctx.Err() == nil {
				path, rows := t.next()
				sent := time.Now()
				_, err := fetch(client, http.MethodGet, url+path, "")
				o.latencies = append(o.latencies, time.Since(sent))
				o.rows += rows
				if err != nil {
					o.failed++
					if o.failure == nil {
						o.failure = err
					}
				}
			}
		})
	}
	wg.Wait()
	all := outcome{took: time.Since(start)}
	for _, p := range parts {
		all.add(p)
	}
	return all
}

// newClient keeps a connection for each of its users.
func newClient(users int) *http.Client {
	return &http.Client{
		Transport: &http.Transport{MaxIdleConns: users, MaxIdleConnsPerHost: users, DisableCompression: true},
		Timeout:   20 * time.Second,
	}
}

// fetch sends a request and reads the whole answer. A status other than 200 is an error. It has no context: a request
// that was sent is waited for, so that every statement belongs to a request that was counted.
func fetch(client *http.Client, method, url, body string) ([]byte, error) {
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %.200s", method, url, response.Status, text)
	}
	return text, err
}
