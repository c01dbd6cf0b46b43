package txhooks

import (
	"database/sql"
	"errors"
	"strings"
)

// Outcome is Committed, RolledBack or InDoubt.
type Outcome int

// Outcomes. After InDoubt the server may have committed or not.
const (
	Committed Outcome = iota + 1
	RolledBack
	InDoubt
)

// String is the outcome in lower case words.
func (o Outcome) String() string {
	switch o {
	case Committed:
		return "committed"
	case RolledBack:
		return "rolled back"
	case InDoubt:
		return "in doubt"
	}
	return "open"
}

// outcomeOf reads the answer to COMMIT. What is not surely one or the other is in doubt.
//
// failed: a statement of the transaction is known to have failed, and nothing undid it: the server cannot commit, whatever
// became of its answer. shared: somebody had the *sql.Tx in hand, who may have undone the failure, or ended the
// transaction, so that neither says anything.
func outcomeOf(err error, failed, shared bool) Outcome {
	if err == nil {
		return Committed
	}
	if failed && !shared {
		return RolledBack
	}
	switch state := sqlState(err); {
	case state == "":
	case state == "40003", // statement completion unknown
		strings.HasPrefix(state, "08"),   // connection
		strings.HasPrefix(state, "57P0"), // shutdown
		strings.HasPrefix(state, "XX"):   // internal
		return InDoubt
	default:
		return RolledBack
	}
	if errors.Is(err, sql.ErrTxDone) && !shared {
		return RolledBack // only its context can have ended it
	}
	if becameRollback(err) {
		return RolledBack
	}
	return InDoubt
}

// becameRollback recognises how drivers say that COMMIT of a failed transaction rolled it back. The server itself does not
// call it an error, so there is no SQLSTATE, and importing the drivers for their variables would force both on everybody.
func becameRollback(err error) bool {
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "could not complete operation in a failed transaction") || // lib/pq
		strings.Contains(text, "commit unexpectedly resulted in rollback") // pgx
}
