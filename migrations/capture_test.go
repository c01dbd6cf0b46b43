package migrations_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/migrations"
	"github.com/asidego/aside/model"
)

type product struct {
	ID       int64   `db:"id"`
	SKU      string  `db:"sku"`
	Category *int64  `db:"category"`
	Name     *string `db:"name"`
}

var products = model.MustTable(model.Spec[product, int64]{
	Name: "products", Key: "id",
	Indexes: model.Indexes[product]{model.NewUnique[product, string]("sku"), model.NewIndex[product, int64]("category")},
}).Relation()

const shop = `CREATE TABLE categories (id bigint PRIMARY KEY);
CREATE TABLE products (id bigint PRIMARY KEY, sku text NOT NULL UNIQUE, category bigint REFERENCES categories ON DELETE CASCADE, name text);`

// ours is the text of the library's migrations, so that a test's database is a copy of a template.
var ours = sync.OnceValue(func() string {
	var all strings.Builder
	for _, name := range migrations.Names() {
		all.WriteString(migrations.Text(name))
		all.WriteString(";\n")
	}
	return all.String()
})

// capturing returns a database with a schema in which tables are captured.
func capturing(t testing.TB, schema string, rels ...*model.Relation) *sqlx.DB {
	t.Helper()
	text := ours() + schema
	for _, rel := range rels {
		up, _ := migrations.Capture(rel, false)
		text += "; " + up
	}
	return testenv.PostgresWith(t, text).Open(t)
}

// taken returns what is in the outbox since it was asked last, a line a change: "U public.products {{1,a,NULL}} > {{1,b,NULL}}".
func taken(t testing.TB, db *sqlx.DB) []string {
	t.Helper()
	var rows []string
	if err := db.Select(&rows, `WITH gone AS (DELETE FROM aside_outbox WHERE tx IS NULL RETURNING id, changes) SELECT changes::text FROM gone ORDER BY id`); err != nil {
		t.Fatal(err)
	}
	return lines(t, rows)
}

func lines(t testing.TB, rows []string) []string {
	t.Helper()
	all := []string{}
	for _, row := range rows {
		var changes []struct {
			T, Op, B, A, Stale string
			C                  []string
		}
		if err := json.Unmarshal([]byte(row), &changes); err != nil {
			t.Fatal(row, err)
		}
		for _, c := range changes {
			line := c.Op + " " + c.T
			if c.B != "" {
				line += " " + c.B
			}
			if c.A != "" {
				line += " > " + c.A
			}
			if c.Stale != "" {
				line += " (" + c.Stale + ")"
			}
			all = append(all, line)
		}
	}
	return all
}

func want(t testing.TB, db *sqlx.DB, what string, lines ...string) {
	t.Helper()
	if got := taken(t, db); !slices.Equal(got, lines) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, lines)
	}
}

// Each way by which a row of a table can change leaves its images, whoever sends the statement.
func TestCapture(t *testing.T) {
	t.Parallel()
	db := capturing(t, shop, products)
	for _, c := range []struct {
		statement string
		want      []string
	}{
		{"INSERT INTO categories VALUES (7), (8)", nil},
		{"INSERT INTO products VALUES (1, 'a', 7), (2, 'b', NULL)", []string{"I public.products > {{1,a,7},{2,b,NULL}}"}},
		{"UPDATE products SET sku = 'aa' WHERE id = 1", []string{"U public.products {{1,a,7}} > {{1,aa,7}}"}},
		{"UPDATE products SET id = 11 WHERE id = 1", []string{"U public.products {{1,aa,7}} > {{11,aa,7}}"}},
		// No captured column changes, and yet rows are cached whole.
		{"UPDATE products SET name = 'new'", []string{"U public.products {{2,b,NULL},{11,aa,7}}"}},
		{"UPDATE products SET name = 'none' WHERE id = 99", nil},
		{"INSERT INTO products VALUES (2, 'b', 7) ON CONFLICT (id) DO UPDATE SET category = 8", []string{"U public.products {{2,b,NULL}} > {{2,b,8}}"}},
		{"INSERT INTO products VALUES (2, 'b', 7) ON CONFLICT DO NOTHING", nil},
		{
			`MERGE INTO products p USING (VALUES (2, 'c'), (3, 'd')) AS n (id, sku) ON p.id = n.id
				WHEN MATCHED THEN UPDATE SET sku = n.sku WHEN NOT MATCHED THEN INSERT (id, sku) VALUES (n.id, n.sku)`,
			[]string{"U public.products {{2,b,8}} > {{2,c,8}}", "I public.products > {{3,d,NULL}}"},
		},
		{
			"WITH gone AS (DELETE FROM products WHERE id = 3 RETURNING *) INSERT INTO products SELECT 4, 'x\"\\{,}' || chr(10) || 'NULL', NULL FROM gone",
			[]string{"D public.products {{3,d,NULL}}", "I public.products > {{4,\"x\\\"\\\\{,}\nNULL\",NULL}}"},
		},
		{"DELETE FROM products WHERE id = 4", []string{"D public.products {{4,\"x\\\"\\\\{,}\nNULL\",NULL}}"}},
		{"DELETE FROM categories WHERE id = 7", []string{"D public.products {{11,aa,7}}"}},
		{"ALTER TABLE products DROP CONSTRAINT products_category_fkey, ADD FOREIGN KEY (category) REFERENCES categories ON DELETE SET NULL", nil},
		{"DELETE FROM categories WHERE id = 8", []string{"U public.products {{2,c,8}} > {{2,c,NULL}}"}},
		{"TRUNCATE products", []string{"T public.products {{2,c,NULL}}"}},
		{"TRUNCATE products", nil},
		{"INSERT INTO products VALUES (5, '', NULL)", []string{`I public.products > {{5,"",NULL}}`}},
		{"TRUNCATE categories CASCADE", []string{`T public.products {{5,"",NULL}}`}},
		{"SET session_replication_role = replica; INSERT INTO products VALUES (6, 'f', 1000); RESET session_replication_role", []string{"I public.products > {{6,f,1000}}"}},
	} {
		if _, err := db.Exec(c.statement); err != nil {
			t.Fatal(c.statement, err)
		}
		want(t, db, c.statement, c.want...)
	}
}

// What is right already is left alone: whoever calls it again does not wait for those who write to the table.
func TestCaptureAgain(t *testing.T) {
	t.Parallel()
	db := capturing(t, shop, products)
	conn := one(t, db)
	send(t, conn, "BEGIN; INSERT INTO products VALUES (1, 'a')")
	up, _ := migrations.Capture(products, false)
	if _, err := db.Exec("SET lock_timeout = '100ms'; " + up); err != nil {
		t.Error(err)
	}
	send(t, conn, "COMMIT")
}

func TestCaptureCopy(t *testing.T) {
	t.Parallel()
	db := capturing(t, shop, products)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	stmt, err := tx.Prepare("COPY products (id, sku) FROM STDIN")
	if err != nil {
		t.Fatal(err)
	}
	for id := range 3 {
		if _, err := stmt.Exec(id, fmt.Sprint("s", id)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := stmt.Exec(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stmt.Close(), tx.Commit()); err != nil {
		t.Fatal(err)
	}
	want(t, db, "COPY", "I public.products > {{0,s0,NULL},{1,s1,NULL},{2,s2,NULL}}")
}

// No row is left out or collapsed into a mark, however many there are: 5,000 in a row of the outbox up to 20,000, and then
// 100,000 at a time.
func TestCaptureMany(t *testing.T) {
	t.Parallel()
	db := capturing(t, shop, products)
	sizes := []int{4999, 5000, 5001, 20_000, 23_456}
	if os.Getenv("ASIDE_SOAK") != "" {
		sizes = append(sizes, 122_000)
	}
	for _, n := range sizes {
		for _, c := range []struct{ what, statement string }{
			{"I", fmt.Sprintf("INSERT INTO products SELECT g, 's' || g FROM generate_series(1, %d) g", n)},
			{"U", "UPDATE products SET name = 'new'"},
			{"U", "UPDATE products SET sku = 't' || id"},
			{"D", "DELETE FROM products WHERE id % 2 = 0"},
			{"T", "TRUNCATE products"},
		} {
			if c.what == "U" && n > 100_000 {
				continue // takes its time
			}
			db.MustExec(c.statement)
			count := n
			switch c.what {
			case "D":
				count = n / 2
			case "T":
				count = n - n/2
			}
			// Of each side: rows in all, different ones, those in the longest list.
			var got struct{ All, Different, Longest, Lists int }
			if err := db.Get(&got, `WITH gone AS (DELETE FROM aside_outbox RETURNING changes -> 0 AS c),
					list AS (SELECT (c ->> 'n')::int AS n, coalesce(c ->> 'a', c ->> 'b')::text[] AS v FROM gone WHERE c ->> 'op' = $1)
				SELECT coalesce(sum(n), 0) AS all, (SELECT count(DISTINCT x) FROM list, unnest(v) x WHERE x ~ '^\d') AS different, coalesce(max(array_length(v, 1)), 0) AS longest, count(*) AS lists FROM list`, c.what); err != nil {
				t.Fatal(err)
			}
			if got.All != count || got.Different != count || got.Longest > 5000 || got.Lists < count/5000 || got.Lists > count/5000+2 {
				t.Errorf("%d rows, %s: %+v", n, c.statement, got)
			}
		}
	}
}

// Statements name the root, a partition of partitions, or a leaf; each fires triggers of its own.
func TestCapturePartitions(t *testing.T) {
	t.Parallel()
	db := capturing(t, `CREATE TABLE products (id bigint, sku text, category bigint, name text, UNIQUE (id)) PARTITION BY RANGE (id);
		CREATE TABLE low PARTITION OF products FOR VALUES FROM (0) TO (100);
		CREATE TABLE high PARTITION OF products FOR VALUES FROM (100) TO (200) PARTITION BY RANGE (id);
		CREATE TABLE "High 1" (name text, sku text, gone int, id bigint NOT NULL, category bigint, UNIQUE (id)); -- the columns in another order
		ALTER TABLE "High 1" DROP COLUMN gone;
		ALTER TABLE high ATTACH PARTITION "High 1" FOR VALUES FROM (100) TO (150);`, products)
	for _, c := range []struct {
		statement string
		want      []string
	}{
		{"INSERT INTO products VALUES (1, 'a'), (101, 'b')", []string{"I public.products > {{1,a,NULL},{101,b,NULL}}"}},
		{"INSERT INTO low VALUES (2, 'c')", []string{"I public.products > {{2,c,NULL}}"}},
		{`UPDATE "High 1" SET sku = 'bb'`, []string{"U public.products {{101,b,NULL}} > {{101,bb,NULL}}"}},
		{"UPDATE high SET category = 9", []string{"U public.products {{101,bb,NULL}} > {{101,bb,9}}"}},
		{"UPDATE products SET id = id + 100 WHERE id = 1", []string{"U public.products {{1,a,NULL}} > {{101,a,NULL}}"}},
		{"DELETE FROM low", []string{"D public.products {{2,c,NULL}}"}},
		{"INSERT INTO products VALUES (3, 'd')", []string{"I public.products > {{3,d,NULL}}"}},
		{"TRUNCATE low", []string{"T public.products {{3,d,NULL}}"}},
		{"INSERT INTO products VALUES (4, 'e')", []string{"I public.products > {{4,e,NULL}}"}},
	} {
		if c.statement == "UPDATE products SET id = id + 100 WHERE id = 1" {
			db.MustExec("UPDATE products SET id = 102 WHERE id = 101")
			taken(t, db)
		}
		if _, err := db.Exec(c.statement); err != nil {
			t.Fatal(c.statement, err)
		}
		want(t, db, c.statement, c.want...)
	}
	db.MustExec("TRUNCATE products")
	got := strings.Join(taken(t, db), "\n")
	for _, row := range []string{"{4,e,NULL}", "{102,bb,9}", "{101,a,NULL}"} {
		if strings.Count(got, row) != 1 {
			t.Errorf("TRUNCATE of the root: %s is not in %s once", row, got)
		}
	}
	// A partition that comes later is captured when the migration's statement is executed again.
	db.MustExec("CREATE TABLE later PARTITION OF products FOR VALUES FROM (200) TO (300)")
	up, down := migrations.Capture(products, false)
	db.MustExec(up)
	db.MustExec("INSERT INTO later VALUES (200, 'z')")
	want(t, db, "a partition that came later", "I public.products > {{200,z,NULL}}")
	db.MustExec(down)
	db.MustExec("INSERT INTO later VALUES (201, 'y')")
	want(t, db, "uncaptured")
	if n := 0; db.Get(&n, "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'aside%'") != nil || n != 0 {
		t.Errorf("%d triggers are left", n)
	}
	if _, err := db.Exec("SELECT aside_capture('low', '{id}')"); err == nil || !strings.Contains(err.Error(), "is a partition") {
		t.Error(err)
	}
}

// Capture breaks nobody's writes: not those of a role without any right on the outbox, under settings of its own, and not
// those to a table whose columns are gone, renamed or of another type; those say so.
func TestCaptureBreaksNothing(t *testing.T) {
	t.Parallel()
	db := capturing(t, shop+`CREATE SCHEMA hostile; CREATE TABLE hostile.aside_outbox (changes int); CREATE FUNCTION hostile.concat(VARIADIC "any") RETURNS text LANGUAGE internal IMMUTABLE AS 'text_concat';
		GRANT pg_read_all_stats TO CURRENT_USER; GRANT INSERT, UPDATE, DELETE, TRUNCATE, SELECT ON products TO pg_read_all_stats; GRANT ALL ON SCHEMA hostile TO pg_read_all_stats;`, products)
	conn := one(t, db)
	send(t, conn, "SET ROLE pg_read_all_stats; SET search_path = hostile, public; CREATE TEMP TABLE aside_outbox (changes int)")
	if _, err := conn.ExecContext(t.Context(), "SELECT * FROM public.aside_outbox"); err == nil {
		t.Fatal("the role may read the outbox")
	}
	// On a table of its own, its rows would go into the outbox under the name of ours.
	send(t, conn, "CREATE TEMP TABLE own (id bigint)")
	if _, err := conn.ExecContext(t.Context(), "CREATE TRIGGER own AFTER TRUNCATE ON own EXECUTE FUNCTION public.aside_capture_products()"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("a role without rights makes a trigger of the function: %v", err)
	}
	send(t, conn, "INSERT INTO products VALUES (1, 'a'); UPDATE products SET sku = 'b'; DELETE FROM products WHERE id = 2; TRUNCATE products")
	want(t, db, "a role without rights", "I public.products > {{1,a,NULL}}", "U public.products {{1,a,NULL}} > {{1,b,NULL}}", "T public.products {{1,b,NULL}}")

	// The sessions that wrote before have plans with the column.
	const gone = " (a captured column is gone or has another type)"
	send(t, conn, "INSERT INTO products VALUES (1, 'a', NULL)")
	taken(t, db)
	db.MustExec("ALTER TABLE products DROP COLUMN category")
	send(t, conn, "INSERT INTO products VALUES (2, 'b'); UPDATE products SET sku = 'c' WHERE id = 2; DELETE FROM products WHERE id = 2; TRUNCATE products")
	want(t, db, "a dropped column", "I public.products > {{2,b,NULL}}"+gone, "U public.products {{2,b,NULL}} > {{2,c,NULL}}"+gone,
		"D public.products {{2,c,NULL}}"+gone, "T public.products {{1,a,NULL}}"+gone)
	db.MustExec("ALTER TABLE products RENAME sku TO code")
	send(t, conn, "INSERT INTO products VALUES (3, 'c')")
	want(t, db, "a renamed column", "I public.products > {{3,NULL,NULL}}"+gone)
	db.MustExec("ALTER TABLE products RENAME code TO sku; ALTER TABLE products ADD category text")
	send(t, conn, "INSERT INTO products VALUES (4, 'd', NULL, 'x')")
	want(t, db, "a column of another type", "I public.products > {{4,d,x}}"+gone)
	up, _ := migrations.Capture(products, false)
	db.MustExec(up)
	send(t, conn, "INSERT INTO products VALUES (5, 'e', NULL, 'x')")
	want(t, db, "captured anew", "I public.products > {{5,e,x}}")
	db.MustExec("ALTER TABLE products DROP category")
	up, _ = migrations.CaptureColumns("products", []string{"id", "sku"}, false)
	db.MustExec(up)
	send(t, conn, "UPDATE products SET sku = 'ee' WHERE id = 5")
	var names string
	if err := db.Get(&names, "SELECT changes #>> '{0,c}' FROM aside_outbox WHERE tx IS NULL"); err != nil || names != `["id", "sku"]` {
		t.Errorf("columns %s, %v", names, err)
	}
	want(t, db, "captured anew without a column that is gone", "U public.products {{5,e}} > {{5,ee}}")

	// A prepared transaction is refused by PostgreSQL after NOTIFY; there is none.
	send(t, conn, "BEGIN; INSERT INTO products VALUES (6, 'f'); PREPARE TRANSACTION 'captured'")
	want(t, db, "prepared")
	send(t, conn, "COMMIT PREPARED 'captured'")
	want(t, db, "committed by somebody else, later", "I public.products > {{6,f}}")
}

// Values are spelled as a driver gets them, whatever the settings of the session that writes and the casts that there are.
func TestCaptureSpellings(t *testing.T) {
	t.Parallel()
	db := capturing(t, `CREATE TYPE mood AS ENUM ('sad', 'glad');
		CREATE TABLE spelled (at timestamptz, day date, span interval, ratio float8, raw bytea, code char(4), flag boolean, host inet, mood mood);
		INSERT INTO spelled VALUES ('2026-02-03 04:05:06+00', '2026-02-03', '1 year 2 days 03:04:05', 0.1::float8 + 0.2, '\x0161', 'ab', true, '10.0.0.1', 'sad');`)
	for _, c := range []struct{ column, session, want string }{
		{"at", "SET TimeZone = 'Asia/Kathmandu'", `"2026-02-03 04:05:06+00"`},
		{"day", "SET DateStyle = 'German'", "2026-02-03"},
		{"span", "SET IntervalStyle = 'iso_8601'", `"1 year 2 days 03:04:05"`},
		{"ratio", "SET extra_float_digits = -5", "0.30000000000000004"},
		{"raw", "SET bytea_output = 'escape'", `"\\x0161"`},
		{"code", "", `"ab  "`},
		{"flag", "", "t"},
		{"host", "", "10.0.0.1"},
		// A cast that the type's owner makes later would run with the rights of the trigger's function.
		{"mood", `CREATE FUNCTION his(mood) RETURNS text LANGUAGE sql AS $$ SELECT current_user::text $$; CREATE CAST (mood AS text) WITH FUNCTION his(mood)`, "sad"},
	} {
		t.Run(c.column, func(t *testing.T) {
			up, down := migrations.CaptureColumns("spelled", []string{c.column}, false)
			db.MustExec(up)
			conn := one(t, db)
			send(t, conn, c.session+"; UPDATE spelled SET raw = raw; RESET ALL")
			want(t, db, c.session, "U public.spelled {{"+c.want+"}}")
			db.MustExec(down)
		})
	}
}

// TRUNCATE lists rows that the owner of the function may not see, or a snapshot does not have, by saying that it does not.
func TestCaptureTruncateUnseen(t *testing.T) {
	t.Parallel()
	db := capturing(t, shop, products)
	db.MustExec("INSERT INTO products VALUES (1, 'a')")
	taken(t, db)
	conn := one(t, db)
	send(t, conn, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM categories")
	db.MustExec("INSERT INTO products VALUES (2, 'b')")
	taken(t, db)
	send(t, conn, "TRUNCATE products; COMMIT")
	want(t, db, "repeatable read", "T public.products {{1,a,NULL}} (TRUNCATE under repeatable read, whose snapshot may lack rows)")

	db.MustExec("INSERT INTO products VALUES (3, 'c')")
	taken(t, db)
	db.MustExec("ALTER FUNCTION aside_capture_products() OWNER TO pg_read_all_stats; GRANT INSERT, SELECT ON aside_outbox TO pg_read_all_stats")
	db.MustExec("TRUNCATE products")
	want(t, db, "no right to read", "T public.products {} (TRUNCATE, rows not listed: permission denied for table products)")
	db.MustExec("GRANT SELECT ON products TO pg_read_all_stats; INSERT INTO products VALUES (4, 'd'); ALTER TABLE products ENABLE ROW LEVEL SECURITY")
	taken(t, db)
	db.MustExec("TRUNCATE products")
	want(t, db, "row security", "T public.products {} (TRUNCATE, rows not listed: policies apply to the owner of the trigger's function)")
}

// What is undone by a savepoint leaves nothing; what a deferred trigger writes is there before COMMIT.
func TestCapturedInTransaction(t *testing.T) {
	t.Parallel()
	db := capturing(t, shop+`CREATE TABLE orders (id bigint PRIMARY KEY);
		CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE products SET category = NULL, name = current_user || current_setting('search_path') WHERE id = 1; RETURN NULL; END $$;
		CREATE CONSTRAINT TRIGGER late AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();`, products)
	db.MustExec("INSERT INTO categories VALUES (7); INSERT INTO products VALUES (1, 'a', 7)")
	taken(t, db)
	conn := one(t, db)
	captured := func() []string {
		t.Helper()
		var rows []string
		if err := sqlx.SelectContext(t.Context(), conn, &rows, "SELECT changes::text FROM aside_captured()"); err != nil {
			t.Fatal(err)
		}
		return lines(t, rows)
	}
	send(t, conn, `BEGIN; SAVEPOINT s; UPDATE products SET sku = 'undone'; ROLLBACK TO s; UPDATE products SET sku = 'b'; INSERT INTO orders VALUES (1)`)
	db.MustExec("INSERT INTO products VALUES (2, 'other')") // of another transaction
	wanted := []string{"U public.products {{1,a,7}} > {{1,b,7}}", "U public.products {{1,b,7}} > {{1,b,NULL}}"}
	if got := captured(); !slices.Equal(got, wanted) {
		t.Errorf("in the transaction: %q, want %q", got, wanted)
	}
	send(t, conn, "COMMIT")
	var name string
	if err := db.Get(&name, "SELECT name FROM products WHERE id = 1"); err != nil || !strings.HasSuffix(name, `"$user", public`) {
		t.Errorf("the deferred trigger ran as %q, %v: not with the settings of its session", name, err)
	}
	want(t, db, "committed", wanted[0], "I public.products > {{2,other,NULL}}", wanted[1])
	send(t, conn, "BEGIN; UPDATE products SET sku = 'x' WHERE id = 1; ROLLBACK; BEGIN READ ONLY")
	if got := captured(); len(got) > 0 {
		t.Errorf("in a transaction that has written nothing: %q", got)
	}
	send(t, conn, "COMMIT")
	want(t, db, "rolled back")
}

// A second service with other indexes adds its columns; the first one's stay.
func TestCaptureOfTwoServices(t *testing.T) {
	t.Parallel()
	db := capturing(t, shop, products)
	other := model.MustTable(model.Spec[product, int64]{Name: "public.products", Key: "id", Indexes: model.Indexes[product]{model.NewIndex[product, string]("name")}}).Relation()
	up, _ := migrations.Capture(other, false)
	db.MustExec(up)
	db.MustExec("INSERT INTO products VALUES (1, 'a', NULL, 'n')")
	want(t, db, "both", "I public.products > {{1,n,a,NULL}}")
	for _, mistake := range []struct{ call, says string }{
		{"SELECT aside_capture('nothere', '{id}')", "there is no table nothere"},
		{"SELECT aside_capture('products', '{idd}')", "products has no column idd"},
		{"SELECT aside_capture('products', '{}')", "no columns"},
		{"SELECT aside_capture('aside_outbox', '{id}')", "cannot be captured"},
	} {
		if _, err := db.Exec(mistake.call); err == nil || !strings.Contains(err.Error(), mistake.says) {
			t.Errorf("%s: %v", mistake.call, err)
		}
	}
	// The library's tables cannot go while somebody's writes need them.
	if _, err := db.Exec(migrations.Text("0004_capture.down.sql")); err == nil || !strings.Contains(err.Error(), "still captured") {
		t.Error(err)
	}
	_, down := migrations.Capture(products, false)
	db.MustExec(down)
	db.MustExec(migrations.Text("0004_capture.down.sql"))
	db.MustExec(migrations.Text("0004_capture.up.sql"))
}

// Names need quotes, or are long.
func TestCaptureNames(t *testing.T) {
	t.Parallel()
	type odd struct {
		ID      int64  `db:"The Id"`
		Percent string `db:"100%s $1 'x\\"`
	}
	long := strings.Repeat("x", 63)
	rel := model.MustTable(model.Spec[odd, int64]{Name: "Club." + long, Key: "The Id", Indexes: model.Indexes[odd]{model.NewIndex[odd, string](`100%s $1 'x\`)}}).Relation()
	db := capturing(t, `CREATE SCHEMA "Club"; CREATE TABLE "Club".`+long+` ("The Id" bigint, "100%s $1 'x\" text); CREATE TABLE "Club".x`+long[:49]+` (id bigint)`, rel)
	db.MustExec(`INSERT INTO "Club".` + long + ` VALUES (1, '%')`)
	want(t, db, "odd names", "I Club."+long+" > {{1,%}}")
	db.MustExec(`TRUNCATE "Club".` + long)
	want(t, db, "odd names", "T Club."+long+" {{1,%}}")
	// Column names that mean something where the function's text has them.
	db.MustExec(`CREATE TABLE s (r int, x int, absent int, aside_skip int, aside_new int, n int, v int, gone int, tg_op int, "new" int);
		SELECT aside_capture('s', '{r,x,absent,aside_skip,aside_new,n,v,gone,tg_op,new}'); INSERT INTO s VALUES (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)`)
	want(t, db, "odd columns", "I public.s > {{1,2,3,4,5,6,7,8,9,10}}")
	db.MustExec("ALTER TABLE s DROP r, DROP aside_new, DROP tg_op; UPDATE s SET x = 3")
	want(t, db, "odd columns that are gone", "U public.s {{NULL,2,3,4,NULL,6,7,8,NULL,10}} > {{NULL,3,3,4,NULL,6,7,8,NULL,10}} (a captured column is gone or has another type)")
}

// one returns a connection of its own.
func one(t *testing.T, db *sqlx.DB) *sqlx.Conn {
	t.Helper()
	conn, err := db.Connx(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func send(t *testing.T, on interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, query string,
) {
	t.Helper()
	if _, err := on.ExecContext(context.Background(), query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
