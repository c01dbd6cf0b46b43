// Package outbox makes a cache right again when the writer could not: it died between COMMIT and its invalidations, or the
// store was away, or the write was that of another service, which has a cache of its own.
//
// With it a transaction writes what it changed into a table, aside_outbox, before it commits: one INSERT. In the usual case
// the writer invalidates as ever and acknowledges the row a little later, together with others. What nobody has acknowledged
// a relay delivers; there is one in every process, and any of them will do.
//
//	cache, err := cachedrepo.New(db, store, cachedrepo.Config{Namespace: "shop", Tables: tables})
//	...
//	box, err := outbox.Start(db, cache, outbox.Config{})
//	...
//	defer box.Close(ctx) // before the cache is closed
//
// The tables are made by migrations.Apply. See docs/outbox.md.
package outbox
