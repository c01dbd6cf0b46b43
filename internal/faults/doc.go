// Package faults sits between a client and a server and breaks the wire in
// ways that matter to transactions and caches: connections refused, cut or
// silent, from the outside or at the very moment when given bytes pass.
//
// The three fates of a COMMIT whose answer the client never sees are ready
// made: CutBeforeCommit, CutAfterCommit and SwallowCommitReply.
package faults
