// Package faultpoint gives names to the places in the library's own code where a fault must strike to prove anything: the
// process dies between COMMIT and its invalidations, stands still with its intents set, is slow before it fills.
//
// At costs one atomic load of a pointer that is nil, and nothing else, unless something was armed: by a test in its own
// process with Set, or in a child process that a test started, by that child's own main, with ArmFromEnv. The library never
// reads the environment by itself: a variable that can kill a program must be asked for by the program.
package faultpoint
