package store

import "context"

// Sharded is what a Store of several servers implements beside Store, so that the trouble of one server is that server's
// alone: a Cache sends each server its own operations, and goes on asking the others while one is away.
type Sharded interface {
	// Node names the server that has key now. The name is empty, for every key and for good, if there is one server only.
	// The answer may change from one moment to the next, as keys move, and may be wrong for a moment: Do finds the server by
	// itself. It is asked for every key of a batch, so it looks at what is known and asks nobody.
	Node(key string) string
}

// Scanner is what a Store implements that can list its keys.
type Scanner interface {
	// Scan calls yield with keys that begin with prefix, some at a time and in no order, from one goroutine; a key may come
	// more than once. Every key that is there from the call to the return is listed, whatever it holds; of those that come
	// or go meanwhile, some are. It ends early with ctx or with yield's error, and with an error if it could not look
	// everywhere, or if keys were moving between servers so that some may have been missed.
	Scan(ctx context.Context, prefix string, yield func(keys []string) error) error
}

// Evicting is what a Store implements whose server may drop keys before their time.
type Evicting interface {
	// EvictsTokens names the setting of the server because of which it may drop writers' tokens. It is empty if it does not, and if
	// the setting is not known.
	EvictsTokens() (setting string)
}

// Paired is what a Store implements that can keep operations on two keys together.
type Paired interface {
	// Paired tells that of two operations of one call, one at an even place and the next, whatever their keys, the first has
	// always run when the second has, and before it. It holds for good. A Cache that reads from replicas of the database needs
	// one round trip less then.
	Paired() bool
}

// Keeping is what a Store implements whose server may keep a writer's token after its deadline, until some operation touches
// the key.
type Keeping interface {
	KeepsTokens() bool
}
