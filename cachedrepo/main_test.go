package cachedrepo_test

import (
	"os"
	"testing"

	"github.com/asidego/aside/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv(versionVariable) != "" {
		runVersion()
		return
	}
	testenv.Main(m)
}
