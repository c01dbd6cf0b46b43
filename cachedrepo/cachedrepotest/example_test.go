package cachedrepotest_test

import (
	"testing"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/cachedrepotest"
	"github.com/asidego/aside/txhooks"
)

// One line in the function that sets up the application for a test: from then on every test fails that leaves a wrong
// entry behind, whatever it is about.
func ExampleAudit() {
	setUp := func(t *testing.T, db *txhooks.DB, cache *cachedrepo.Cache) {
		cachedrepotest.Audit(t, db, cache)
	}
	_ = setUp
	// A test of an application that updates by hand and forgets to say so then fails with
	//
	//	cachedrepotest: after a transaction that was committed, an entry is wrong: books.id=10 (key library:books:id:10):
	//	title is "Notes" in the entry and "x" in the database
	//	    the cache was not told of this UPDATE, in a transaction that was not told: UPDATE books SET title = 'x' WHERE id = 10
}
