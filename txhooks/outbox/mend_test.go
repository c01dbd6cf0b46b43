package outbox

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Of many rows that are parked at once the log tells of one, and a minute later how many there were.
func TestParkedAreLoggedOnceAMinute(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	o := &Outbox{cfg: Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}, name: "shop"}
	for id := range int64(3) {
		o.tellParked(&row{id: id}, errors.New("bad"))
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "row=0 err=bad others=0") {
		t.Errorf("logged:\n%s", got)
	}
	o.count.parking.told = time.Now().Add(-time.Minute)
	o.tellParked(&row{id: 7}, errors.New("bad"))
	if got := log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "row=7 err=bad others=2") {
		t.Errorf("logged:\n%s", got)
	}
}
