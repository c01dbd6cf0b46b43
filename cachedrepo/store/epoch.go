package store

import "context"

// Epocher is what a Store implements whose servers can go back in time: a replica that lagged is promoted, or a server
// restarts with an old file, and what was invalidated last is there again, leases included.
//
// A Cache takes the epoch before it asks for a lease, writes it into the value, and uses a value only if the epoch is still
// the same. It must not be taken when the value is stored:
//
//  1. R takes the lease, which is replicated, and reads old.
//  2. W commits and invalidates. That is not replicated. W returns.
//  3. The replica is promoted, with R's lease.
//  4. R fills. The lease is there, so it is accepted. Stamped with the epoch of today the old row would be good.
type Epocher interface {
	// Epoch is the same number as long as the server that has key forgets nothing by itself, differs from that of every other
	// server and time, and is the same in all processes; 0, for good, if nobody can tell. It is asked for on every hit, so it
	// looks at what is known and asks nobody. While that is nothing, it is another number each time.
	//
	// Once Do has returned what keys hold, Epoch of these keys is that of the servers which answered, or a later one. Do fails
	// if it cannot find that out.
	Epoch(key string) uint64
}

// Learner is what an Epocher implements that notices more when it is asked to look: that it speaks with a server which has
// been replaced, while the connection goes on answering.
type Learner interface {
	// Learn asks all servers who they are. It is called about once a second while there are reads. Its error is for the log.
	Learn(ctx context.Context) error
}
