package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	faultReaders = 10
	faultWriters = 2
	faultRows    = 100
)

// faultLoad is the clients of part 4.
type faultLoad struct {
	url          string
	seed         uint64
	client       *http.Client
	ids          []int64
	acknowledged []counter // by row: the highest version that a write has returned
	now          atomic.Pointer[phase]
}

func newFaultLoad(d *demo, url string, phases []*phase) *faultLoad {
	l := &faultLoad{
		url: url, seed: d.seed, client: newClient(faultReaders + faultWriters),
		acknowledged: make([]counter, faultRows),
	}
	for i := range faultRows {
		l.ids = append(l.ids, int64(i*len(d.slugs)/faultRows+1))
	}
	l.now.Store(phases[0])
	return l
}

// run reads and writes until ctx ends.
func (l *faultLoad) run(ctx context.Context) {
	defer l.client.CloseIdleConnections()
	var wg sync.WaitGroup
	for i := range faultReaders + faultWriters {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(l.seed, uint64(i)))
			for n := int64(1); ctx.Err() == nil; n++ {
				row := rng.IntN(len(l.ids))
				if i < faultReaders {
					l.read(row)
				} else {
					l.write(row, n*faultWriters+int64(i))
					pause(ctx, time.Duration(rng.Int64N(int64(2*thinkTime))))
				}
			}
		})
	}
	wg.Wait()
}

// timed sends a request about a row and keeps the longest time.
func (l *faultLoad) timed(p *phase, method string, row int, body string) ([]byte, error) {
	start := time.Now()
	text, err := fetch(l.client, method, fmt.Sprintf("%s/cities/%d", l.url, l.ids[row]), body)
	raise(&p.longest, int64(time.Since(start)))
	return text, err
}
