//go:build !unix

package faultpoint

// stop has no counterpart here: who cannot be stopped must not go on as if it had been.
func stop() { kill() }
