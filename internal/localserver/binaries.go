package localserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// ErrNotInstalled is in the chain of the error returned when this machine has
// no program of the server asked for.
var ErrNotInstalled = errors.New("server program not found")

// Where packages put PostgreSQL's programs: Debian, Red Hat, and Homebrew on
// both kinds of Mac. scripts/setup.sh looks in the same places.
var postgresFolders = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
}

// postgresDir finds a folder that has both initdb and postgres: PATH first, for
// that is what the user chose, then the known folders with the newest version
// first, then what pg_config says.
func postgresDir() (string, error) {
	var candidates []string
	if path, err := exec.LookPath("postgres"); err == nil {
		// Debian's wrapper folders hold links to single programs.
		if resolved, err := filepath.EvalSymlinks(path); err == nil {
			path = resolved
		}
		candidates = append(candidates, filepath.Dir(path))
	}
	var packaged []string
	for _, pattern := range postgresFolders {
		matches, _ := filepath.Glob(pattern) // errors only for a malformed pattern
		packaged = append(packaged, matches...)
	}
	sort.SliceStable(packaged, func(i, j int) bool {
		return majorVersion(packaged[i]) > majorVersion(packaged[j])
	})
	candidates = append(candidates, packaged...)
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		candidates = append(candidates, strings.TrimSpace(string(out)))
	}
	for _, dir := range candidates {
		if executable(filepath.Join(dir, "postgres")) && executable(filepath.Join(dir, "initdb")) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("localserver: PostgreSQL (postgres and initdb): %w in PATH, %s",
		ErrNotInstalled, strings.Join(postgresFolders, ", "))
}

// redisProgram finds redis-server in PATH or where Homebrew puts it.
func redisProgram() (string, error) {
	if path, err := exec.LookPath("redis-server"); err == nil {
		return path, nil
	}
	for _, path := range []string{"/opt/homebrew/bin/redis-server", "/usr/local/bin/redis-server", "/usr/bin/redis-server"} {
		if executable(path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("localserver: redis-server: %w in PATH", ErrNotInstalled)
}

var firstNumber = regexp.MustCompile(`[0-9]+`)

// majorVersion reads the version from a folder such as
// /usr/lib/postgresql/17/bin; an unversioned one counts as the oldest.
func majorVersion(dir string) int {
	version, _ := strconv.Atoi(firstNumber.FindString(dir))
	return version
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
