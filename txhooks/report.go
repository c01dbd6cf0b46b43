package txhooks

import (
	"context"
	"sync"
)

// Report is filled in when Run returns.
type Report struct{ Pending int }

type reportKey struct{}

// reporting guards a Report against transactions that end at the same time.
type reporting struct {
	mu     sync.Mutex
	report *Report
}

// WithReport returns a context whose transactions say in r how many invalidations wait for the cache: their sum, for those
// whose outermost Run was given the context or one made from it. Do not read r while such a Run is under way.
func WithReport(ctx context.Context) (_ context.Context, r *Report) {
	r = new(Report)
	return context.WithValue(ctx, reportKey{}, &reporting{report: r}), r
}

func report(ctx context.Context, pending int) {
	r, ok := ctx.Value(reportKey{}).(*reporting)
	if !ok || pending == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Pending += pending
}
