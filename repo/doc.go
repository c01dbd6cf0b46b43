// Package repo is the generic repository: rows found by key and by index, changed one at a time or in bulk.
//
// The interfaces say what a repository does and what a cache in front of it answers. SQL implements them on PostgreSQL
// through a *txhooks.DB; package memrepo implements them in memory, for unit tests of those who use them.
//
// Every write runs in the transaction of its context, or in one of its own, and reports to it the key and index values
// that the changed rows had before and have now. So writes need no decorator: whoever subscribes to the *txhooks.DB,
// such as a cache, learns of each. On their own, Insert, Update and Delete send exactly BEGIN, one statement and COMMIT
// where they find their row; Modify sends one statement more, Upsert one or two, and UpdateWhere a savepoint.
package repo
