//go:build unix

package faultpoint

import "syscall"

func stop() { _ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP) }
