package migrations_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/migrations"
)

// BenchmarkCapture compares a transaction on a table with one on the same table captured, in turns. "x" is the ratio of the
// median times, seen from the client; "cpu-x" that of the processor time that the server's process took, which other
// programs on the machine disturb less.
func BenchmarkCapture(b *testing.B) {
	table := func(name string) string {
		return fmt.Sprintf(`CREATE TABLE %[1]s (id bigint PRIMARY KEY, sku text NOT NULL UNIQUE, category bigint NOT NULL, name text NOT NULL, body text NOT NULL,
				price bigint NOT NULL, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
			CREATE INDEX ON %[1]s (category);
			INSERT INTO %[1]s SELECT g, 'sku-' || g, g %% 100, 'The name of ' || g, repeat('body ', 20), g FROM generate_series(1, 20000) g;`, name)
	}
	db := capturing(b, "SELECT 1")
	db.MustExec(table("plain") + table("captured"))
	db.MustExec("VACUUM ANALYZE")
	up, _ := migrations.CaptureColumns("captured", []string{"id", "sku", "category"}, false)
	db.MustExec(up)
	db.SetMaxOpenConns(1)
	for _, c := range []struct{ name, update string }{
		{"row", "UPDATE %s SET price = price + 1 WHERE id = $1"},
		{"row-key", "UPDATE %s SET sku = sku || 'x' WHERE id = $1"},
		{"10000-rows", "UPDATE %s SET price = price + 1 WHERE id <= 10000"},
		{"10000-rows-key", "UPDATE %s SET category = category + 1 WHERE id <= 10000"},
	} {
		b.Run(c.name, func(b *testing.B) {
			var wall, cpu [2][]float64
			var many bool
			for at := range b.N {
				var args []any
				if strings.Contains(c.update, "$1") {
					args = append(args, 1+at%20000)
				}
				for i, name := range []string{"plain", "captured"} {
					w, p, n := timed(b, db, fmt.Sprintf(c.update, name), args)
					wall[i], cpu[i] = append(wall[i], w), append(cpu[i], p)
					many = n > 1
					if many {
						db.MustExec("VACUUM " + name)
						db.MustExec("TRUNCATE aside_outbox")
					}
				}
			}
			b.ReportMetric(median(wall[0])/1e3, "plain-µs")
			b.ReportMetric(median(wall[1])/1e3, "captured-µs")
			b.ReportMetric(median(wall[1])/median(wall[0]), "x")
			if cpu[0][0] > 0 {
				b.ReportMetric(median(cpu[1])/median(cpu[0]), "cpu-x")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// timed returns the nanoseconds of a transaction with the statement.
func timed(b *testing.B, db *sqlx.DB, statement string, args []any) (wall, cpu float64, rows int64) {
	b.Helper()
	var pid int
	if err := db.Get(&pid, "SELECT pg_backend_pid()"); err != nil {
		b.Fatal(err)
	}
	before, start := processor(pid), time.Now()
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	res, err := tx.Exec(statement, args...)
	if err != nil {
		b.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	wall, cpu = float64(time.Since(start)), processor(pid)-before
	rows, _ = res.RowsAffected()
	return wall, cpu, rows
}

// processor is how long a process has run, in nanoseconds; 0 where Linux does not say so.
func processor(pid int) (ns float64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err == nil {
		_, _ = fmt.Sscan(string(text), &ns)
	}
	return ns
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}
