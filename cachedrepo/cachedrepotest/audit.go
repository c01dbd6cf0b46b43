// Package cachedrepotest has the tests of an application fail where its cache would serve what is no longer so.
//
// It imports no testing: Audit takes what a *testing.T has.
package cachedrepotest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/txhooks"
	"github.com/asidego/aside/txhooks/txwatch"
)

// TB is the part of testing.TB that Audit needs.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Cleanup(func())
}

// Auditor compares the entries of a cache with its database after every transaction.
type Auditor struct {
	t     TB
	cache *cachedrepo.Cache

	auditing sync.Mutex // one at a time

	mu        sync.Mutex
	strangers []txwatch.Write // reported since the last audit
	told      []string        // tables of which changes were reported since
}

// auditTimeout bounds one audit.
const auditTimeout = 10 * time.Second

// Audit has t fail if a transaction on db leaves an entry of c behind that says something else than the database: after each
// transaction, and at the end of the test for what was written outside of transactions, every entry of all tables of c is
// compared with its row. The failure names the key, what is wrong, and the statements that can have done it, as far as they
// are known: what the Auditor's Wrote was told by txwatch, and the tables of which changes were reported.
//
// A wrong entry is reported once: it is dropped. Tests that count what is sent to the database see the auditor's statements.
// The test must have no other transaction under way when it ends. c's store must be able to list its keys, as those of this
// module are.
func Audit(t TB, db *txhooks.DB, c *cachedrepo.Cache) *Auditor {
	t.Helper()
	a := &Auditor{t: t, cache: c}
	leave := db.Subscribe(subscriber{a})
	t.Cleanup(func() {
		leave()
		a.audit(context.Background(), "at the end of the test")
	})
	return a
}

// Wrote is for txwatch.Config.Report: it remembers statements that the cache was not told of. a may be nil, for the watched
// connection is there before the cache is:
//
//	var audit *cachedrepotest.Auditor
//	watched := txwatch.Connector(connector, txwatch.Config{Tables: tables, Report: func(ctx context.Context, w txwatch.Write) {
//		audit.Wrote(ctx, w)
//	}})
func (a *Auditor) Wrote(_ context.Context, w txwatch.Write) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.strangers = append(a.strangers, w)
}

// subscriber takes part in transactions. It prepares nothing; but Prepare is called in every transaction through which
// something was sent, whether or not anybody was told of a change.
type subscriber struct{ a *Auditor }

var _ txhooks.Preparer = subscriber{}

func (s subscriber) Prepare(ctx context.Context, _ txhooks.Changes) error {
	txhooks.AfterEnd(ctx, func(ctx context.Context, o txhooks.Outcome) {
		s.a.audit(ctx, "after a transaction that was "+o.String())
	})
	return nil
}

func (s subscriber) Ended(_ context.Context, _ txhooks.Outcome, changes txhooks.Changes) int {
	s.a.mu.Lock()
	defer s.a.mu.Unlock()
	for _, rel := range changes.Tables() {
		if !slices.Contains(s.a.told, rel.Name) {
			s.a.told = append(s.a.told, rel.Name)
		}
	}
	return 0
}

// audit compares, and reports what is wrong.
func (a *Auditor) audit(ctx context.Context, when string) {
	a.auditing.Lock()
	defer a.auditing.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditTimeout)
	defer cancel()
	_, wrong, err := a.cache.Audit(ctx)
	a.mu.Lock()
	strangers, told := a.strangers, a.told
	a.strangers, a.told = nil, nil
	a.mu.Unlock()
	if err != nil {
		a.t.Errorf("cachedrepotest: %s: the entries could not be compared with the database: %v", when, err)
		return
	}
	if len(wrong) == 0 {
		return
	}
	for _, w := range wrong {
		a.t.Errorf("cachedrepotest: %s, an entry is wrong: %s\n%s", when, w, suspects(w.Table, strangers, told))
	}
	a.cache.Drop(ctx, wrong...)
}

// suspects says who can have done it.
func suspects(table string, strangers []txwatch.Write, told []string) string {
	var b strings.Builder
	for _, w := range strangers {
		if w.Table == table {
			fmt.Fprintf(&b, "    the cache was not told of this %s, %s: %s\n", w.Verb, w.Kind, w.Query)
		}
	}
	switch {
	case b.Len() > 0:
	case slices.Contains(told, table):
		fmt.Fprintf(&b, "    changes of %s were reported, but not of this row: did a trigger, ON DELETE CASCADE or a statement without Touch change it?\n", table)
	default:
		fmt.Fprintf(&b, "    nobody reported a change of %s: did a trigger, a cascade or another connection write? txwatch names statements, see Auditor.Wrote\n", table)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
