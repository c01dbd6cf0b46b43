// Package soak lets several processes read and write a few hot rows through the library, on a real PostgreSQL and a real
// Redis, while faults strike, and then checks what every one of them was told.
//
// A run is a number of rounds. In a round the processes run random operations while the parent strikes by a schedule; then
// they stop, everything is mended, and the round is judged:
//
//	P0  nobody read what was never committed, and no outcome that a writer was told is wrong
//	P1  nobody who began after a write had returned read what was before it
//	P2  once all is quiet the cache says what the database says
//	P3  every key is linearizable (strict mode, where the faults of the round leave that promise standing)
//	P4  once all is quiet every key can be cached again
//
// What was committed, and in which order, is not inferred: each transaction notes what it writes in a table of the same
// database, after the statement that took the row's lock, so that the notes of one register are in the order of their
// commits. What a killed writer or a lost answer to COMMIT came to is found there, too. P3 is judged by porcupine, without
// that order; what it finds is explained with it.
//
// The same seed gives the same faults at the same times and the same operations; how they meet is up to the machine. A
// run that fails prints the seed, writes its schedule to a file, and shows the shortest window around what is wrong.
package soak
