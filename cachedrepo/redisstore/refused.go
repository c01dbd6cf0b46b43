package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/store"
)

// refusals are the errors of a server that is there and will not serve. It may go on serving reads to others meanwhile,
// and whoever cannot write to it must not believe its reads either.
//
// Not among them are answers that say nothing about the server: MOVED and ASK, which a Cluster client follows and gives up
// after some hops, NOSCRIPT, after which the source is sent, and what the client says by itself, that no connection came
// free or that a deadline is over. They count like a server that does not answer.
var refusals = [...]string{
	"MISCONF",     // the disk is full
	"NOREPLICAS",  // fewer replicas than min-replicas-to-write
	"READONLY",    // a replica, or a master that was demoted
	"OOM",         // maxmemory and nothing to evict
	"LOADING",     // reading its file
	"BUSY",        // a script runs too long
	"MASTERDOWN",  // a replica without its master
	"CLUSTERDOWN", // slots without a master
	"TRYAGAIN",    // a slot is on its way
	"NOAUTH", "NOPERM", "WRONGPASS",
}

// serverError is the text of an error that the server sent, else empty.
func serverError(err error) string {
	var sent redis.Error
	if err != nil && errors.As(err, &sent) {
		return sent.Error()
	}
	return ""
}

func refused(err error) bool {
	text := serverError(err)
	code, _, _ := strings.Cut(text, " ")
	for _, r := range refusals {
		if code == r {
			return true
		}
	}
	return strings.HasPrefix(text, notAllowed)
}

// replaced tells of refusals by which a server may not be the one that it was: demoted, started anew, without its slots.
func replaced(err error) bool {
	code, _, _ := strings.Cut(serverError(err), " ")
	switch code {
	case "READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "MOVED":
		return true
	}
	return false
}

// notAllowed is the NOPERM of a command that a script calls.
const notAllowed = "ERR The user executing the script can't"

// failure is err as Do returns it: a refusal, the end of the context, or any other error of the way to the server.
func failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if refused(err) {
		kind := store.ErrRefused
		if strings.HasPrefix(serverError(err), "OOM") {
			kind = store.ErrFull
		}
		return fmt.Errorf("redisstore: %w: %w", kind, err)
	}
	over := ctx.Err()
	if deadline, ok := ctx.Deadline(); over == nil && ok && !time.Now().Before(deadline) {
		over = context.DeadlineExceeded // the socket's timer is a moment ahead of the context's
	}
	if over != nil && !errors.Is(err, over) {
		return fmt.Errorf("redisstore: %w: %w", over, err)
	}
	return fmt.Errorf("redisstore: %w", err)
}
