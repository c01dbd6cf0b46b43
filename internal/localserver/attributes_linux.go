package localserver

import "syscall"

// attributes has the kernel signal the server when the thread that started it
// ends (run in process.go keeps that thread), and keeps the terminal's Ctrl-C
// from reaching it: the owner decides in which order things end.
func attributes(account *account, ifOwnerDies syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Setpgid:    true,
		Pdeathsig:  ifOwnerDies,
		Credential: account.credential(),
	}
}

// guarded tells that the kernel ends servers whose owner dies.
const guarded = true
