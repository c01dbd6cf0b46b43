package outbox_test

import (
	"testing"
	"time"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/txhooks/outbox"
)

// BenchmarkRelay tells how many rows of one change each a relay delivers to Redis in a second when there is a backlog.
func BenchmarkRelay(b *testing.B) {
	pg, server := testenv.PostgresWith(b, guestSchema+outbox.Schema(b)), testenv.Redis(b)
	s := serve(b, pg.URL(), server.Client(b), server.Prefix(), outbox.Config{Poll: time.Millisecond})
	b.ResetTimer()
	for b.Loop() {
		b.StopTimer()
		s.conn.MustExec(`DO $$ BEGIN FOR i IN 1..10000 LOOP
			INSERT INTO aside_outbox (changes) SELECT jsonb_build_array(jsonb_build_object('t', 'public.guests', 'op', 'U',
				'c', jsonb_build_array('id', 'email'), 'b', jsonb_build_array(jsonb_build_array(i::text, 'g' || i))));
			COMMIT;
		END LOOP; END $$`)
		b.StartTimer()
		s.until(b, 0, openRows)
	}
	b.ReportMetric(float64(b.N)*10_000/b.Elapsed().Seconds(), "rows/s")
}
