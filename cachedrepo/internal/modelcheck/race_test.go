//go:build race

package modelcheck_test

// The race detector makes the search ten times slower, and finds nothing in it: it is one goroutine.
const slow = true
