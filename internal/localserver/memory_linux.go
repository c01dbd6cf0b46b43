package localserver

import "syscall"

const (
	// tmpfsMagic is TMPFS_MAGIC of statfs(2).
	tmpfsMagic = 0x01021994
	// Four test binaries at once, each with a server or two whose log of changes
	// may grow to 256 MB, and a reserve. Containers have 64 MB by default.
	enoughMemory = 4 << 30
)

// memoryDir returns a folder that is kept in memory, if there is one with room
// that everybody may write to.
func memoryDir() (string, bool) {
	const dir = "/dev/shm"
	var info syscall.Statfs_t
	if err := syscall.Statfs(dir, &info); err != nil || info.Type != tmpfsMagic {
		return "", false
	}
	if info.Bavail*uint64(info.Bsize) < enoughMemory {
		return "", false
	}
	var stat syscall.Stat_t
	if err := syscall.Stat(dir, &stat); err != nil || stat.Mode&0o1007 != 0o1007 {
		return "", false
	}
	return dir, true
}
