// Package txhooks runs transactions on a *sqlx.DB, with hooks and the list of rows that they changed. It knows no cache.
//
// The transaction travels in the context: code that is given the context of a Run and a *DB takes part in it without
// knowing.
//
//	err := db.Run(ctx, func(ctx context.Context) error {
//		if _, err := db.ExecContext(ctx, `UPDATE orders SET paid = true WHERE id = $1`, id); err != nil {
//			return err
//		}
//		txhooks.AfterCommit(ctx, func(ctx context.Context) { mail.Receipt(ctx, id) })
//		return nil
//	})
//
// Name fn's parameter ctx, as above, so that it hides the outer one: a statement on the outer context is not part of the
// transaction and can wait for its locks for ever.
//
// A transaction belongs to one goroutine at a time. BEGIN, COMMIT, ROLLBACK and their like are Run's business: a string
// that has one of them, wherever, is refused. What goes through DB.Tx is not seen, but that the transaction is over is: see
// ErrEndedOutside.
//
// # What becomes of a transaction
//
// Run sends BEGIN, the statements, COMMIT and nothing else; Touch and Savepoint add what their comments say. Statements
// obey their own context. COMMIT obeys nobody: a caller whose context ends before it is sent gets a ROLLBACK and the
// context's error, one whose context ends while it is out gets what the server answers. If no answer comes the outcome is
// InDoubt: the rows may be there.
//
// Then, in this order: subscribers, AfterCommit hooks, AfterEnd hooks. They are called one after another on the goroutine
// of Run, with a context that does not end with the caller's and in which there is no transaction.
package txhooks
