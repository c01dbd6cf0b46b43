// Package conns lets the packages below txhooks have the connections of a *txhooks.DB, which everybody else reaches through
// its transactions alone.
package conns

import "database/sql"

// Of returns the pool of a *txhooks.DB. txhooks sets it.
var Of func(db any) *sql.DB
