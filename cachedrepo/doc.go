// Package cachedrepo caches repositories and keeps them fresh.
//
// Wrap returns a repository of the same interface whose Find, FindMany and FindBy are answered from a store (Redis, or
// this process's memory). Nothing else changes: writes go to the plain repository, which reports the rows they change to
// its transaction, and before the call that committed the transaction returns, every key that one of these rows has or
// had is gone from the store.
//
// A read that starts after such a call has returned sees its changes, whoever wrote and whoever reads, as long as the
// store can be reached and every process declares the same indexes. That needs more than GET, SELECT and SET: a reader
// must hold a lease on the key before it reads the database, may store what it read only while it still holds that
// lease, and may share another reader's answer only if its own look at the key, made after its call began, found that
// very reader's lease. The protocol and the histories that break weaker ones are in docs/protocol.md.
//
// Inside a transaction all reads go to the database and nothing is stored. Trouble with the store is never the caller's
// error: reads go to the database, invalidations are kept and repeated before this process trusts the store again, and
// Stats counts all of it. Trouble with the database always is.
package cachedrepo
