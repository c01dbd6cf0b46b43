package localserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// folder is where one server lives:
//
//	/dev/shm or TMPDIR/aside-servers-UID/
//	  lock                 held for a moment while folders are made or removed
//	  postgres-1234/
//	    owner              locked by the owning process as long as it lives
//	    pid                of the running server
//	    log
//	    data/              belongs to the server's account
//
// The kernel drops the lock on owner when the owning process ends, however it
// ends, which makes a leftover recognisable without trusting process ids.
type folder struct {
	path  string
	owner *os.File
}

// newFolder makes a folder and removes those that dead processes left.
func newFolder(kind string, account *account) (*folder, error) {
	root, unlock, err := lockRoot()
	if err != nil {
		return nil, err
	}
	defer unlock()
	sweep(root)

	path, err := os.MkdirTemp(root, kind+"-")
	if err != nil {
		return nil, fmt.Errorf("localserver: %w", err)
	}
	f := &folder{path: path}
	if err := f.prepare(account); err != nil {
		return nil, errors.Join(fmt.Errorf("localserver: prepare folder: %w", err), f.remove())
	}
	return f, nil
}

func (f *folder) prepare(account *account) (err error) {
	if f.owner, err = os.Create(filepath.Join(f.path, "owner")); err != nil {
		return err
	}
	if err := syscall.Flock(int(f.owner.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	// The server's account must be able to pass through to data.
	if err := os.Chmod(f.path, 0o711); err != nil {
		return err
	}
	if err := os.Mkdir(f.data(), 0o700); err != nil {
		return err
	}
	return account.own(f.data())
}

func (f *folder) data() string    { return filepath.Join(f.path, "data") }
func (f *folder) logFile() string { return filepath.Join(f.path, "log") }
func (f *folder) pidFile() string { return filepath.Join(f.path, "pid") }

// remove deletes the folder. The lock goes last, so that nobody else sweeps a
// folder that is being removed.
func (f *folder) remove() error {
	removeSharedMemory(f.data())
	err := os.RemoveAll(f.path)
	if f.owner != nil {
		err = errors.Join(err, f.owner.Close())
	}
	return err
}

// lockRoot opens the folder of all folders of this user, and keeps other
// processes from changing it until unlock.
func lockRoot() (root string, unlock func(), err error) {
	root = filepath.Join(tempDir(), "aside-servers-"+strconv.Itoa(os.Getuid()))
	if err := os.Mkdir(root, 0o711); err != nil && !errors.Is(err, os.ErrExist) {
		return "", nil, fmt.Errorf("localserver: %w", err)
	}
	// The name can be guessed, and the temporary folder is everybody's.
	info, err := os.Lstat(root)
	if err != nil {
		return "", nil, fmt.Errorf("localserver: %w", err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(stat.Uid) != os.Getuid() {
		return "", nil, fmt.Errorf("localserver: %s belongs to somebody else", root)
	}
	// The umask may have taken the right to pass through.
	if err := os.Chmod(root, 0o711); err != nil {
		return "", nil, fmt.Errorf("localserver: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(root, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, fmt.Errorf("localserver: %w", err)
	}
	if err := flockWait(lock); err != nil {
		return "", nil, errors.Join(fmt.Errorf("localserver: lock %s: %w", root, err), lock.Close())
	}
	return root, func() { _ = lock.Close() }, nil
}

// flockWait waits for the lock; a signal to the process interrupts the call
// and means nothing.
func flockWait(file *os.File) error {
	for {
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// tempDir is os.TempDir, unless this is root and the servers' account could not
// reach a folder there. Unless TMPDIR says where, memory is preferred: every
// database is 300 files, and making and removing them is a fifth of what the
// tests cost on a disk.
func tempDir() string {
	if os.Getenv("TMPDIR") == "" {
		if dir, ok := memoryDir(); ok {
			return dir
		}
	}
	dir := os.TempDir()
	if os.Geteuid() != 0 {
		return dir
	}
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err != nil || info.Mode()&0o001 == 0 {
			return "/tmp"
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

// sweep removes the folders whose owner is dead, ending a server that survived
// it. It is best effort: what it cannot remove now, a later call will. The
// caller holds the root's lock.
func sweep(root string) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		f := &folder{path: filepath.Join(root, entry.Name())}
		// No owner file: its maker died within prepare.
		if owner, err := os.OpenFile(filepath.Join(f.path, "owner"), os.O_RDWR, 0); err == nil {
			if syscall.Flock(int(owner.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
				_ = owner.Close()
				continue
			}
			f.owner = owner
		}
		f.killLeftover()
		_ = f.remove()
	}
}

// killLeftover ends the server whose id the folder holds, if that process
// still is the server: ids are used again.
func (f *folder) killLeftover() {
	text, err := os.ReadFile(f.pidFile())
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 || !strings.Contains(commandLine(pid), f.data()) {
		return
	}
	killTree(pid)
}
