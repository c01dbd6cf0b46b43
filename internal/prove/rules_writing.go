package main

const afterCommit = "cachedrepo/internal/protocol/write.go"

var writing = []Rule{
	{
		Name: "invalidate-after-commit", Why: "history 2",
		Says:    "The keys are invalidated after COMMIT.",
		Removed: "subscribers are told before COMMIT is sent",
		Edits: []Edit{
			{"txhooks/transaction.go", `	faultpoint.At(faultpoint.BeforeCommit)
`, `	faultpoint.At(faultpoint.BeforeCommit)
	t.notify(Committed)
`},
			{"txhooks/hooks.go", `	faultpoint.At(faultpoint.BeforePost)
	t.notify(o)
`, `	faultpoint.At(faultpoint.BeforePost)
`},
		},
		Package: "./cachedrepo", Tests: []string{"TestHistory2ReadBetweenStatementAndCommit/memory"},
	},
	{
		Name: "writer-stores-nothing", Why: "history 3",
		Says:    "A write ends entries and brings no row along.",
		Removed: "Modify stores the row that it has written, under a lease and after COMMIT",
		Edits: []Edit{{"cachedrepo/wrap.go", `	return w.plain.Modify(ctx, key, change)
`, `	rec, err := w.plain.Modify(ctx, key, change)
	own := func(context.Context) (any, error) { row := rec; return &row, nil }
	if r, _ := w.c.newRead(ctx, w.name, w.acc, w.acc.Place(key), own); err == nil && r != nil {
		_, _ = r.into(ctx, new(T))
	}
	return rec, err
`}},
		Package: "./cachedrepo", Tests: []string{"TestHistory3PostStepsInTheOtherOrder/memory"},
	},
	{
		Name: "invalidate-before-return", Why: "history 4, P1",
		Says:    "A write returns when its keys are invalidated.",
		Removed: "they are invalidated behind its back",
		Edits: []Edit{{
			"cachedrepo/invalidate.go", `				pending = rt.nodes.invalidate(ctx, keys)`,
			`				go rt.nodes.invalidate(context.WithoutCancel(ctx), append([]string(nil), keys...))`,
		}},
		Package: "./cachedrepo", Tests: []string{"TestHistory4WindowBetweenCommitAndInvalidation/memory", "TestHistory8ReadBesideTheCache/memory", "TestInvalidateOnly/memory"},
	},
	{
		Name: "invalidate-before-hooks", Why: "2b",
		Says:    "An AfterCommit hook finds the keys invalidated.",
		Removed: "the hooks run first",
		Edits:   []Edit{{"txhooks/hooks.go", `	defer t.drain(o) // deferred`, `	t.drain(o) // deferred`}},
		Package: "./cachedrepo", Tests: []string{"TestFindInAfterCommit"},
	},
	{
		Name: "in-doubt-invalidates-again", Why: "history 6",
		Says:    "After a COMMIT in doubt the keys are invalidated again later: the server may commit after the first time.",
		Removed: "they are invalidated once",
		Edits:   []Edit{{afterCommit, `steps = inDoubt[:]`, `steps = []Step{Mark, Invalidate}`}},
		Package: "./cachedrepo", Tests: []string{"TestHistory6InDoubt/commits_before_the_first_repeat/memory", "TestDoubt/committed/memory"},
	},
	{
		Name: "in-doubt-invalidates-now", Why: "history 6",
		Says:    "After a COMMIT in doubt the keys are invalidated before the write returns: the server may have committed.",
		Removed: "they are invalidated later alone",
		Edits:   []Edit{{afterCommit, `steps = inDoubt[:]`, `steps = []Step{Mark, InvalidateAgain}`}},
		Package: "./cachedrepo", Tests: []string{"TestHistory6InDoubt/commits_before_the_first_repeat/memory", "TestDoubt/committed/memory"},
	},
	{
		Name: "before-images-have-keys", Why: "2b",
		Says:    "The keys that a row had before the write are invalidated.",
		Removed: "only those of its after image are",
		Edits:   []Edit{{"cachedrepo/invalidate.go", `[2]model.Image{ch.Before, ch.After}`, `[2]model.Image{nil, ch.After}`}},
		Package: "./cachedrepo", Tests: []string{"TestHistoryUniqueValueMovesToAnotherRow/memory", "TestFindIsFreshAfterWrite/memory", "TestViewWriteMovesUniqueValue/memory"},
	},
	{
		Name: "after-images-have-keys", Why: "2b",
		Says:    "The keys that a row has after the write are invalidated: that it was not there may be stored under them.",
		Removed: "only those of its before image are",
		Edits:   []Edit{{"cachedrepo/invalidate.go", `[2]model.Image{ch.Before, ch.After}`, `[2]model.Image{ch.Before, nil}`}},
		Package: "./cachedrepo", Tests: []string{"TestHistoryNotFoundThenInserted/memory", "TestHistoryUniqueValueMovesToAnotherRow/memory", "TestViewWriteMovesUniqueValue/memory"},
	},
	{
		Name: "every-unique-index-has-a-key", Why: "2b",
		Says:    "A write invalidates its row under the key and under each unique index.",
		Removed: "under the key alone",
		Edits:   []Edit{{"cachedrepo/invalidate.go", `for _, a := range t.accesses {`, `for _, a := range t.accesses[:1] {`}},
		Package: "./cachedrepo", Tests: []string{"TestFindIsFreshAfterWrite/memory", "TestInvalidateOnly/memory", "TestHistoryUniqueValueMovesToAnotherRow/memory"},
	},
	{
		Name: "upsert-knows-what-it-overwrites", Why: "hazard 9",
		Says:    "An upsert reports the row that it has overwritten, however late that came.",
		Removed: "it reports an insert",
		Edits: []Edit{{"repo/upsert.go", `			return *after, r.changed(ctx, before, after)`, `			_ = before
			return *after, r.changed(ctx, nil, after)`}},
		Package: "./repo", Tests: []string{"TestUpsertSeesConcurrentInsert", "TestUpsert"},
	},
	{
		Name: "images-do-not-block-foreign-keys", Why: "hazard 15",
		Says:    "The lock under which a before image is read lets rows be inserted that refer to the row.",
		Removed: "FOR UPDATE in repositories",
		Edits:   []Edit{{"repo/text.go", `" WHERE " + where + " FOR NO KEY UPDATE"`, `" WHERE " + where + " FOR UPDATE"`}},
		Package: "./repo", Tests: []string{"TestForeignKeysDoNotWait"},
	},
	{
		Name: "touch-does-not-block-foreign-keys", Why: "hazard 15",
		Says:    "So does the lock of Touch.",
		Removed: "FOR UPDATE in Touch",
		Edits:   []Edit{{"txhooks/images.go", `		b.WriteString(" FOR NO KEY UPDATE")`, `		b.WriteString(" FOR UPDATE")`}},
		Package: "./txhooks", Tests: []string{"TestTouchDoesNotBlockForeignKeys"},
	},
	{
		Name: "touch-reads-before", Why: "2b",
		Says:    "What is touched is read before the next statement: the keys that the rows had.",
		Removed: "it is not",
		Edits: []Edit{{"txhooks/statements.go", `	if err == nil {
		err = t.readBefore(ctx)
	}
`, ``}},
		Package: "./txhooks", Tests: []string{"TestTouchImages", "TestTouchSeveralTimes"},
	},
	{
		Name: "touch-reads-after", Why: "2b",
		Says:    "What is touched is read again before COMMIT: the keys that the rows have.",
		Removed: "it is not",
		Edits:   []Edit{{"txhooks/transaction.go", `	err := t.readAfter(t.caller)`, `	var err error`}},
		Package: "./txhooks", Tests: []string{"TestTouchImages", "TestTouchSeveralTimes"},
	},
	{
		Name: "touch-follows-rows", Why: "2b",
		Says:    "Rows that were touched by an index are read again wherever the statement has taken them.",
		Removed: "they are read again where they were",
		Edits: []Edit{{"txhooks/touch.go", `			for _, r := range before {
				g.add(`, `			for _, r := range before[:0] {
				g.add(`}},
		Package: "./txhooks", Tests: []string{"TestTouchImages"},
	},
	{
		Name: "touch-locks", Why: "2b",
		Says:    "What is touched is locked, so that what was read stays true until COMMIT.",
		Removed: "it is read without a lock",
		Edits:   []Edit{{"txhooks/touch.go", `err := t.images(ctx, g, true, func(rows []row) {`, `err := t.images(ctx, g, false, func(rows []row) {`}},
		Package: "./txhooks", Tests: []string{"TestTouchKeepsLocksOverSavepoint"},
	},
	{
		Name: "touched-place-without-a-row", Why: "2b",
		Says:    "A place that was touched and at which no row is seen is reported all the same: the row may come while the statement waits.",
		Removed: "it is not",
		Edits: []Edit{{"txhooks/touch.go", `		t.add(ctx, missing.changes())
`, ``}},
		Package: "./txhooks", Tests: []string{"TestTouchRowThatComesLate", "TestTouchImages"},
	},
	{
		Name: "savepoint-keeps-outer-locks", Why: "2b",
		Says:    "Rows touched before a savepoint are locked before it, so that undoing it does not unlock them.",
		Removed: "they are locked within",
		Edits: []Edit{{"txhooks/savepoint.go", `	if err := t.readBefore(ctx); err != nil {
		return err
	}
`, ``}},
		Package: "./txhooks", Tests: []string{"TestTouchKeepsLocksOverSavepoint"},
	},
	{
		Name: "undone-savepoint-reports-nothing", Why: "2b",
		Says:    "What a savepoint has undone is not reported as changed.",
		Removed: "it is",
		Edits: []Edit{{"txhooks/savepoint.go", `	t.changes.cut(mark.changes)
`, ``}},
		Package: "./txhooks", Tests: []string{"TestSavepoint"},
	},
	{
		Name: "lost-answer-is-in-doubt", Why: "2b, hazard 14",
		Says:    "A COMMIT whose answer is neither surely yes nor surely no is in doubt.",
		Removed: "it is a rollback",
		Edits: []Edit{{"txhooks/outcome.go", `		return RolledBack
	}
	return InDoubt
}`, `		return RolledBack
	}
	return RolledBack
}`}},
		Package: "./txhooks", Tests: []string{"TestOutcomeOf", "TestCommitAnswerLost"},
	},
	{
		Name: "drivers-words-are-known", Why: "hazard 14",
		Says:    "A COMMIT that became a rollback is known by the words of either driver.",
		Removed: "the words of lib/pq are forgotten",
		Edits:   []Edit{{"txhooks/outcome.go", `strings.Contains(text, "could not complete operation in a failed transaction")`, `false`}},
		Package: "./txhooks", Tests: []string{"TestDriversWordsForFailedCommit", "TestOutcomeOf"},
	},
	{
		Name: "witness-is-compared", Why: "hazard 14",
		Says:    "A transaction that was handed out is compared with its witness before COMMIT.",
		Removed: "it is taken for the same",
		Edits: []Edit{{"txhooks/witness.go", `	if gone {
		return ErrEndedOutside
	}
	return err`, `	if gone {
		return nil
	}
	return err`}},
		Package: "./txhooks", Tests: []string{"TestEndedBehindRun"},
	},
	{
		Name: "transaction-control-is-refused", Why: "hazard 14",
		Says:    "A statement that would end the transaction is refused.",
		Removed: "it is sent",
		Edits:   []Edit{{"txhooks/control.go", `verb != "" {`, `verb == "never" {`}},
		Package: "./txhooks", Tests: []string{"TestTransactionControlIsRefused"},
	},
	{
		Name: "writes-past-the-transaction-fail", Why: "hazard 13b",
		Says:    "View.Write fails if nothing was sent through its transaction.",
		Removed: "nobody looks",
		Edits:   []Edit{{"cachedrepo/view.go", `if v.c.db.Sent(ctx) == before {`, `if false && v.c.db.Sent(ctx) == before {`}},
		Package: "./cachedrepo", Tests: []string{"TestViewWritePastTransaction"},
	},
	{
		Name: "failed-invalidation-is-pending", Why: "2b, P1",
		Says:    "An invalidation that fails is pending, and its key is not asked for, before the write returns.",
		Removed: "it is forgotten",
		Edits: []Edit{{"cachedrepo/pending.go", `					n.keep(g.at, ops, asked)
					return`, `					return`}},
		Package: "./cachedrepo", Tests: []string{"TestFaultOneLostInvalidation/memory", "TestFaultPendingBeforeTrust/memory"},
	},
	{
		Name: "writers-do-not-hinder-trust", Why: "P4",
		Says:    "What writers kept pending while a server was not trusted does not keep it from being trusted again.",
		Removed: "the prober goes on while something has become pending for whatever reason",
		Edits:   []Edit{{"cachedrepo/probe.go", `at.failed.Load() != failed`, `at.kept.Load() != kept`}},
		Package: "./cachedrepo", Tests: []string{"TestFaultWritersDoNotHinderTrust"},
	},
	{
		Name: "trusted-too-early", Why: "hazard 8",
		Says:    "A server that was trusted again while something was still to be sent, and does not take that, is distrusted at once.",
		Removed: "a failure of what was still to be sent says nothing",
		Edits:   []Edit{{"cachedrepo/probe.go", `err != nil && restored`, `false && restored`}},
		Package: "./cachedrepo", Tests: []string{"TestFaultTrustedTooEarly"},
	},
	{
		Name: "pending-is-reported", Why: "2b, P1",
		Says:    "A write says how many of its invalidations are pending.",
		Removed: "it says 0",
		Edits:   []Edit{{"cachedrepo/pending.go", `	return n.waiting()`, `	return 0 * n.waiting()`}},
		Package: "./cachedrepo", Tests: []string{"TestFaultOneLostInvalidation/memory", "TestFaultPendingBeforeTrust/memory", "TestDoubtWithoutStore/memory"},
	},
	{
		Name: "pending-is-sent-again", Why: "2b, P2",
		Says:    "What is pending is sent until it arrives.",
		Removed: "nobody sends it again",
		Edits: []Edit{{"cachedrepo/nodes.go", `	n.unsure.Store(true)
	n.mend(at)`, `	n.unsure.Store(true)`}},
		Package: "./cachedrepo", Tests: []string{"TestFaultPendingBeforeTrust/memory"},
	},
	{
		Name: "pending-key-is-not-asked", Why: "2b, P1",
		Says:    "A key whose invalidation is pending is not asked for, wherever it is now.",
		Removed: "only the server that failed is not asked",
		Edits:   []Edit{{"cachedrepo/nodes.go", `pending || n.sending[key] > 0 {`, `false && pending {`}},
		Package: "./cachedrepo", Tests: []string{"TestNodesPendingKeyMoves"},
	},
	{
		Name: "distrusted-server-is-not-asked", Why: "hazard 8, P1",
		Says:    "A server that has failed to take a write is asked nothing until it has taken one.",
		Removed: "it is asked",
		Edits:   []Edit{{"cachedrepo/nodes.go", `return at == nil || !at.distrust.Load()`, `return at == nil || at != nil`}},
		Package: "./cachedrepo", Tests: []string{"TestNodesOneIsAway"},
	},
	{
		Name: "reader-watches-for-refused-writes", Why: "hazard 8",
		Says:    "A process that only reads has each server that it reads from take a write now and then.",
		Removed: "nobody asks",
		Edits: []Edit{{"cachedrepo/watch.go", `			n.learn()
			n.ask()`, `			n.learn()`}},
		Package: "./cachedrepo", Tests: []string{"TestWatchOfAReader"},
	},
	{
		Name: "full-store-still-invalidates", Why: "hazard 8",
		Says:    "A store that is merely full is trusted: it still deletes.",
		Removed: "it is treated as one that refuses",
		Edits:   []Edit{{"cachedrepo/nodes.go", `	if errors.Is(err, store.ErrFull) && !writes {`, `	if false && !writes {`}},
		Package: "./cachedrepo", Tests: []string{"TestFaultFullRedis"},
	},
	{
		Name: "too-much-pending-ends-trust", Why: "hazard 33",
		Says:    "When more is pending than can be kept, the process stays away from the store until all that was there has ended.",
		Removed: "what is too much is forgotten",
		Edits: []Edit{{"cachedrepo/pending.go", `			n.rt.stats.givenUp.Add(uint64(len(ops) - i))
			n.lose()`, `			n.rt.stats.givenUp.Add(uint64(len(ops) - i))`}},
		Package: "./cachedrepo", Tests: []string{"TestFaultMaxPending", "TestOverflowRetires/memory"},
	},
	{
		Name: "unread-changes-end-trust", Why: "hazard 1",
		Says:    "If changes cannot be read back nobody knows their keys: the process stays away from the store.",
		Removed: "it is counted and reported alone",
		Edits: []Edit{{"cachedrepo/invalidate.go", `	rt.nodes.distrustAll()
`, ``}},
		Package: "./cachedrepo", Tests: []string{"TestBulkUnread"},
	},
}
