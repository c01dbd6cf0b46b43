//go:build !linux

package localserver

import "syscall"

// attributes keeps the terminal's Ctrl-C from the server. There is no parent
// death signal here: guard.go stands in for it.
func attributes(account *account, _ syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Setpgid:    true,
		Credential: account.credential(),
	}
}

const guarded = false
