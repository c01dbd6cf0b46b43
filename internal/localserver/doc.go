// Package localserver runs private PostgreSQL and Redis servers from the
// programs installed on this machine, on 127.0.0.1 and on random ports. Tests
// use it through internal/testenv; the demo programs use it directly, which is
// why nothing here imports testing.
//
// A server can be frozen, continued, killed without warning and started again
// on the same port and data: the faults that the library promises to survive.
//
// Servers do not outlive the process that started them. Close ends a server
// and removes its folder. When the process dies instead, the kernel ends the
// server (Linux) or a waiting shell does (elsewhere), and the next process that
// starts one removes the folder. See folder.go and guard.go.
package localserver
