package testenv_test

import (
	"testing"

	"github.com/asidego/aside/internal/testenv"
)

// A replica shows what was committed on the primary, unless its replay stands still.
func TestStandby(t *testing.T) {
	pg := testenv.PostgresReplicated(t, `CREATE TABLE things (n int)`)
	primary, standby := pg.Open(t), pg.Standby.Open(t)
	count := func() (n int) {
		t.Helper()
		if err := standby.Get(&n, `SELECT count(*) FROM things`); err != nil {
			t.Fatal(err)
		}
		return n
	}
	insert := func() {
		t.Helper()
		if _, err := primary.Exec(`INSERT INTO things VALUES (1)`); err != nil {
			t.Fatal(err)
		}
	}
	insert()
	pg.Standby.CatchUp()
	if n := count(); n != 1 {
		t.Fatalf("%d rows, want 1", n)
	}
	pg.Standby.Pause()
	insert()
	if n := count(); n != 1 {
		t.Fatalf("%d rows while the replay stands still, want 1", n)
	}
	pg.Standby.Resume()
	pg.Standby.CatchUp()
	if n := count(); n != 2 {
		t.Fatalf("%d rows, want 2", n)
	}
	if _, err := standby.Exec(`INSERT INTO things VALUES (1)`); err == nil {
		t.Fatal("a replica took a write")
	}
}
