// Package testenv gives tests real servers: a PostgreSQL and a Redis private to
// the test process, started when the first test asks and stopped by Main.
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		t.Parallel()
//		pg := testenv.PostgresWith(t, schemaSQL) // a database of the test's own
//		redis := testenv.Redis(t)                // a key prefix of the test's own
//		db, client := pg.Open(t), redis.Client(t)
//		...
//	}
//
// A test that stops, freezes, kills or configures a server takes one of its
// own, with NewPostgres or NewRedis.
//
// Two variables name servers to use instead of the private shared ones:
//
//   - ASIDE_TEST_POSTGRES, a libpq URL whose role may create databases. Tests
//     get databases of their own there and drop them.
//   - ASIDE_TEST_REDIS, a redis URL. Tests are kept apart by key prefix only,
//     in the one database of the URL; keys with the prefix are deleted after.
//
// A missing server program fails the test; it never skips it.
package testenv
