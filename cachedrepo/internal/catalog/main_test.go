package catalog_test

import (
	"testing"

	"github.com/asidego/aside/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
