package main

var outbox = []Rule{
	{
		Name:    "outbox-same-transaction",
		Why:     "2b, hazard 6",
		Says:    "The row with the keys is written in the transaction that changed them.",
		Removed: "it is written on another connection",
		Edits: []Edit{{
			"txhooks/outbox/writer.go",
			`w.db.QueryRowContext(ctx, insert,`,
			`w.pool.QueryRowContext(ctx, insert,`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestResolve/rolled_back"},
	},
	{
		Name:    "outbox-all-changes",
		Why:     "2b, hazard 1",
		Says:    "A transaction some of whose changes cannot be written down is rolled back.",
		Removed: "what can be read is written",
		Edits: []Edit{{
			"txhooks/outbox/writer.go",
			"	if err := changes.Err(); err != nil {\n		return fmt.Errorf(\"aside: outbox: %w\", err)",
			"	if err := changes.Err(); false && err != nil {\n		return fmt.Errorf(\"aside: outbox: %w\", err)",
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestStageNeedsAllChanges"},
	},
	{
		Name:    "outbox-witness-is-random",
		Why:     "hazard 6",
		Says:    "In doubt the outcome is told by a random witness, and not by the number of the transaction, which may be given again.",
		Removed: "a row with the same number is the witness",
		Edits: []Edit{{
			"txhooks/outbox/resolve.go",
			`" WHERE tx = $1::text::uuid), "`,
			`" WHERE $1::text <> '' AND xid = $2::text::xid8), "`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestResolveDoesNotBelieveNumbers"},
	},
	{
		Name:    "outbox-witness-asked",
		Why:     "hazard 6",
		Says:    "A COMMIT whose witness is there was a COMMIT, and Run says so.",
		Removed: "the outcome stays in doubt",
		Edits: []Edit{{
			"txhooks/outbox/resolve.go",
			"		case there:\n			return txhooks.Committed, nil",
			"		case there:\n			return txhooks.InDoubt, nil",
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestResolve/committed"},
	},
	{
		Name:    "outbox-absence-on-the-same-server",
		Why:     "hazard 6",
		Says:    "The absence of the witness counts only on the server that the transaction ran on, without a restart since.",
		Removed: "it counts on any",
		Edits: []Edit{{
			"txhooks/outbox/resolve.go",
			`case standby || at != s.incarnation:`,
			`case (standby || at != s.incarnation) && false:`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestResolveDoesNotGuess", "TestResolveDoesNotBelieveNumbers"},
	},
	{
		Name:    "outbox-absence-once-it-is-over",
		Why:     "hazard 6",
		Says:    "The absence of the witness counts only when the transaction does not run any more.",
		Removed: "it counts at once",
		Edits: []Edit{{
			"txhooks/outbox/resolve.go",
			`case !runs:`,
			`case !runs || runs:`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestResolveWaitsForTheTransaction/true", "TestResolveDoesNotGuess"},
	},
	{
		Name:    "outbox-every-consumer",
		Why:     "hazard 4",
		Says:    "A row is done when every consumer that is alive has acknowledged it.",
		Removed: "the first acknowledgement is enough",
		Edits: []Edit{{
			"txhooks/outbox/ack.go",
			"CASE WHEN ARRAY(SELECT id FROM \" + t.consumers +\n		\" WHERE expires_at > now()) <@ (o.acked || $1::int) THEN clock_timestamp() END)\"",
			"clock_timestamp())\"",
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestRowsWaitForEveryConsumer", "TestAcknowledgementsMeet"},
	},
	{
		Name:    "outbox-own-acknowledgement-only",
		Why:     "hazard 4",
		Says:    "Versions of a program that know other indexes are consumers of their own: what one has ended is open for the other.",
		Removed: "consumers are told apart by their name only",
		Edits: []Edit{{
			"txhooks/outbox/outbox.go",
			`hex.EncodeToString(sum[:16])`,
			`hex.EncodeToString(sum[:0])`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestVersionsAreConsumersOfTheirOwn"},
	},
	{
		Name:    "outbox-dead-not-waited-for",
		Why:     "hazard 4",
		Says:    "A row does not wait for a consumer that was dead when it was acknowledged.",
		Removed: "it waits for all that were ever registered",
		Edits: []Edit{{
			"txhooks/outbox/ack.go",
			`" WHERE expires_at > now()) <@`,
			`") <@`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestDeadConsumerIsNotWaitedFor"},
	},
	{
		Name:    "outbox-sweep",
		Why:     "hazard 4",
		Says:    "Rows that all others had acknowledged when a consumer died are done without it.",
		Removed: "nobody looks at them again",
		Edits: []Edit{{
			"txhooks/outbox/keep.go",
			"			o.try(\"sweep\", func(ctx context.Context) error { return o.sweep(ctx, &k) })\n",
			"",
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestDeadConsumerReturns"},
	},
	{
		Name:    "outbox-lapsed-ends-all",
		Why:     "hazard 4",
		Says:    "A consumer that was given up ends all its entries when it returns, or when it finds out.",
		Removed: "it goes on with what it has",
		Edits: []Edit{{
			"txhooks/outbox/register.go",
			`if err := o.consumer.RetireIndexes(ctx); err != nil {`,
			`if err := error(nil); err != nil {`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestLapsedConsumerEndsItsEntries", "TestDeadConsumerReturns"},
	},
	{
		Name:    "outbox-debt-is-written-down",
		Why:     "hazard 4",
		Says:    "That a consumer owes this is written down until it is done, by whichever of its processes can.",
		Removed: "the debt is crossed out before it is paid",
		Edits: []Edit{{
			"txhooks/outbox/register.go",
			`	if err := o.consumer.RetireIndexes(ctx); err != nil {
		return err
	}`,
			`	if err := o.consumer.RetireIndexes(ctx); err != nil {
		_, _ = o.db.ExecContext(ctx, "UPDATE "+o.tables().consumers+" SET retire_since = NULL WHERE id = $1", o.id.Load())
		return err
	}`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestDebtIsPaidLater"},
	},
	{
		Name:    "outbox-late-sign-of-life",
		Why:     "hazard 4",
		Says:    "A consumer whose sign of life may have come after it was given up ends all its entries.",
		Removed: "a sign of life that was written is good, however late",
		Edits: []Edit{{
			"txhooks/outbox/keep.go",
			`err == nil && late && !k.good.IsZero()`,
			`false && err == nil && late && !k.good.IsZero()`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestLateSignOfLife"},
	},
	{
		Name:    "outbox-inherited-without-a-gap",
		Why:     "hazard 4",
		Says:    "A version inherits the entries of one that has gone only if another that knows the same indexes was there without a gap.",
		Removed: "it does not matter since when that one has been there",
		Edits: []Edit{{
			"txhooks/outbox/register.go",
			` AND d.since + make_interval(secs => $5) <= x.expires_at`,
			``,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestDeployOwesNothing"},
	},
	{
		Name:    "outbox-inherited-by-index",
		Why:     "hazard 4",
		Says:    "That other version must know each index that both have.",
		Removed: "any version of the name will do",
		Edits: []Edit{{
			"txhooks/outbox/register.go",
			"\n				AND NOT EXISTS (SELECT unnest(x.indexes) INTERSECT SELECT unnest(mine.indexes) EXCEPT SELECT unnest(d.indexes))",
			"",
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestDeployOwesNothing"},
	},
	{
		Name:    "outbox-relays-skip-locked-rows",
		Why:     "2b",
		Says:    "Relays lock the rows that they have in hand, and skip those of others.",
		Removed: "they wait for them",
		Edits: []Edit{{
			"txhooks/outbox/relay.go",
			`LIMIT $5 FOR UPDATE SKIP LOCKED`,
			`LIMIT $5 FOR UPDATE`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestRelaysDoNotWaitForOneAnother"},
	},
	{
		Name:    "outbox-relays-lock-rows",
		Why:     "2b",
		Says:    "A row is in one relay's hand at a time.",
		Removed: "rows are not locked",
		Edits: []Edit{{
			"txhooks/outbox/relay.go",
			`LIMIT $5 FOR UPDATE SKIP LOCKED`,
			`LIMIT $5`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestRelaysDoNotWaitForOneAnother"},
	},
	{
		Name:    "outbox-no-cursor",
		Why:     "2b",
		Says:    "The relay never goes on after the last row that it saw: a transaction that is slow commits a lower number.",
		Removed: "where nothing is open it goes on after what has begun by now",
		Edits: []Edit{{
			"txhooks/outbox/relay.go",
			`least(first.xid, pg_snapshot_xmin(pg_current_snapshot()))::text`,
			`coalesce(first.xid, pg_snapshot_xmax(pg_current_snapshot()))::text`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestRelayFindsSlowTransactions"},
	},
	{
		Name:    "outbox-grace",
		Why:     "2b",
		Says:    "The relay leaves a row to its writer for a while.",
		Removed: "it takes it at once, when it looks and when it claims",
		Edits: []Edit{{
			"txhooks/outbox/relay.go",
			"at <= clock_timestamp() - make_interval(secs => $3))\n",
			"at <= clock_timestamp() - make_interval(secs => 0 * $3))\n",
		}, {
			"txhooks/outbox/relay.go",
			"at <= clock_timestamp() - make_interval(secs => $3)\n",
			"at <= clock_timestamp() - make_interval(secs => 0 * $3)\n",
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestRelayLeavesRowsToTheirWriter"},
	},
	{
		Name:    "outbox-deliver-before-done",
		Why:     "2b",
		Says:    "A row is delivered before it is acknowledged, so that a relay that dies in between has it delivered again.",
		Removed: "it is acknowledged first, and delivered when that has been committed",
		Edits: []Edit{{
			"txhooks/outbox/relay.go",
			`	told, err := c.tell(ctx, rows)
	if err != nil {
		return nil, false, err
	}
`,
			`	told := rows
	defer func() {
		if err == nil {
			_, err = c.tell(ctx, rows)
		}
	}()
`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestRelayWaitsForTheStore"},
	},
	{
		Name:    "outbox-store-away-is-nobodys-fault",
		Why:     "2b",
		Says:    "While the store is away rows wait, however often a delivery fails.",
		Removed: "a delivery that fails for that reason counts against the row",
		Edits: []Edit{{
			"txhooks/outbox/relay.go",
			`return errors.As(err, &of) && of.Away() || ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)`,
			`_ = of
	return ctx.Err() != nil`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestRelayWaitsForTheStore"},
	},
	{
		Name:    "outbox-bad-row-blocks-nothing",
		Why:     "2b",
		Says:    "If a batch fails its rows are delivered one by one, so that a bad one holds up nothing.",
		Removed: "the batch is tried again",
		Edits: []Edit{{
			"txhooks/outbox/relay.go",
			`	if err := c.o.give(ctx, rows...); err == nil || away(ctx, err) {
		return rows, err
	}`,
			`	if err := c.o.give(ctx, rows...); err == nil || len(rows) > 0 {
		return rows, err
	}`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestRelayParks"},
	},
	{
		Name:    "outbox-bad-row-is-parked",
		Why:     "2b",
		Says:    "A row that fails again and again for its own fault is parked.",
		Removed: "it is tried for ever",
		Edits: []Edit{{
			"txhooks/outbox/relay.go",
			`c.tries[r.id] >= triesOfRow {`,
			`false {`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestRelayParks"},
	},
	{
		Name:    "outbox-parked-ends-what-it-concerns",
		Why:     "2b",
		Says:    "Before a row that cannot be read is parked, all entries that it may concern are ended.",
		Removed: "nothing is ended",
		Edits: []Edit{{
			"txhooks/outbox/mend.go",
			`	if all {
		failed`,
			`	if all {
		_ = failed
	} else if false {
		failed`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestRelayParks"},
	},
	{
		Name:    "outbox-index-that-a-row-does-not-tell",
		Why:     "hazard 4",
		Says:    "A row whose writer does not know an index has all entries of that index ended before it is done.",
		Removed: "the index is left as it is",
		Edits: []Edit{{
			"txhooks/outbox/mend.go",
			`} else if len(missed) > 0 {`,
			`} else if false && len(missed) > 0 {`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestRelayEndsIndexesThatARowDoesNotTell"},
	},
	{
		Name:    "outbox-relay-leaves-intents",
		Why:     "history 12",
		Says:    "What the relay sends leaves the intents of other transactions.",
		Removed: "an invalidation and a release delete the key (in the script)",
		Edits: []Edit{{
			"cachedrepo/redisstore/step.lua",
			`if e.state ~= INTENT then e = { state = ABSENT } end`,
			`e = { state = ABSENT }`,
		}, {
			"cachedrepo/redisstore/step.lua",
			`if #e.writers == 0 then e = { state = ABSENT } end
    return e, found and 0 or LOST`,
			`e = { state = ABSENT }
    return e, found and 0 or LOST`,
		}},
		Package: "./cachedrepo",
		Tests:   []string{"TestDeliverLeavesOthersIntents/redis/strict_false", "TestDeliverLeavesOthersIntents/redis/strict_true"},
	},
	{
		Name:    "outbox-relay-releases",
		Why:     "2c",
		Says:    "The relay's post step is careful: at a strict key it releases the intent of the very transaction that it delivers.",
		Removed: "it invalidates, which leaves that intent to its deadline",
		Edits: []Edit{{
			"cachedrepo/outbox.go",
			`if t.rel.Strict && changes.ID() != (txhooks.ID{}) {`,
			`if false && t.rel.Strict && changes.ID() != (txhooks.ID{}) {`,
		}},
		Package: "./cachedrepo",
		Tests:   []string{"TestDeliverLeavesOthersIntents/redis/strict_true"},
	},
	{
		Name:    "outbox-row-tells-the-transaction",
		Why:     "2c",
		Says:    "A row names its transaction, so that whoever delivers it can release what that transaction has placed.",
		Removed: "the relay is not told",
		Edits: []Edit{{
			"txhooks/outbox/decode.go",
			`txhooks.ChangesOf(changes...).Of(r.tx)`,
			`txhooks.ChangesOf(changes...).Of(txhooks.ID{})`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestRelayDeliversWhatIsPending", "TestCapturedOfAStrictTable"},
	},
	{
		Name:    "outbox-witness-says-strict-changes",
		Why:     "2c",
		Says:    "Changes of strict tables are said by the row of the transaction, also where triggers have captured them without its name.",
		Removed: "what was captured is left out",
		Edits: []Edit{{
			"txhooks/outbox/captured.go",
			`(ch.Relation.Strict || !s.captured.has(ch))`,
			`!s.captured.has(ch)`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestCapturedOfAStrictTable"},
	},
	{
		Name:    "outbox-delivery-fails-loudly",
		Why:     "2b",
		Says:    "A delivery that did not reach the store is an error, and nothing is kept pending in its place.",
		Removed: "it is a success",
		Edits: []Edit{{
			"cachedrepo/outbox.go",
			"		return awayError{err}\n",
			"		_ = awayError{err}\n",
		}},
		Package: "./cachedrepo",
		Tests:   []string{"TestDeliverFails"},
	},
	{
		Name:    "outbox-done-is-kept",
		Why:     "hazard 20",
		Says:    "Rows are kept for a while after they are done.",
		Removed: "they are deleted at the next opportunity",
		Edits: []Edit{{
			"txhooks/outbox/keep.go",
			`WHERE done_at < now() - make_interval(secs => $1)`,
			`WHERE done_at < now() - make_interval(secs => 0 * $1)`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestReplayAndPurge"},
	},
	{
		Name:    "outbox-done-is-replayed",
		Why:     "hazard 20",
		Says:    "A replay delivers what was done lately, too.",
		Removed: "it delivers what is open",
		Edits: []Edit{{
			"txhooks/outbox/replay.go",
			`WHERE done_at IS NULL OR done_at >= clock_timestamp() - make_interval(secs => $1)`,
			`WHERE done_at IS NULL AND $1::float8 > 0`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestReplayAndPurge", "TestForgottenIsToldAgain"},
	},
	{
		Name:    "outbox-replay-when-forgotten",
		Why:     "hazard 20",
		Says:    "When the store has forgotten what it was told lately, it is told again.",
		Removed: "nobody listens for that",
		Edits: []Edit{{
			"txhooks/outbox/replay.go",
			`		case moved <- struct{}{}:`,
			`		case make(chan struct{}, 1) <- struct{}{}:`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestForgottenIsToldAgain"},
	},
	{
		Name:    "outbox-keep-outlives-doubt",
		Why:     "hazard 6",
		Says:    "Rows are kept for longer than their transaction may be in doubt, or the witness would be gone.",
		Removed: "Keep may be shorter",
		Edits: []Edit{{
			"txhooks/outbox/outbox.go",
			`if cfg.Keep < 2*cfg.Doubt {`,
			`if false && cfg.Keep < 2*cfg.Doubt {`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestStartNeedsItsTables"},
	},
	{
		Name:    "outbox-pending-stays-open",
		Why:     "2b",
		Says:    "The writer acknowledges its row only if nothing is pending.",
		Removed: "it acknowledges what it has committed",
		Edits: []Edit{{
			"txhooks/outbox/outbox.go",
			`out == txhooks.Committed && pending == 0`,
			`out == txhooks.Committed`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestRelayDeliversWhatIsPending"},
	},
	{
		Name:    "outbox-doubt-stays-open",
		Why:     "history 6",
		Says:    "The writer acknowledges its row only if it knows that it has committed.",
		Removed: "it acknowledges in doubt",
		Edits: []Edit{{
			"txhooks/outbox/outbox.go",
			`out == txhooks.Committed && pending == 0`,
			`out != txhooks.RolledBack && pending == 0`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestDoubtIsNotAcknowledged"},
	},
	{
		Name:    "outbox-writer-acknowledges",
		Why:     "2b",
		Says:    "What the writer has invalidated it acknowledges, and the relay need not deliver it.",
		Removed: "everything is left to the relay",
		Edits: []Edit{{
			"txhooks/outbox/outbox.go",
			`		s.o.acks.add(changes.ID())`,
			`		_ = changes`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestRelayDeliversWhatIsPending", "TestCloseAcknowledges"},
	},
	{
		Name:    "outbox-close-acknowledges",
		Why:     "2b",
		Says:    "Close acknowledges what was settled a moment ago.",
		Removed: "it does not",
		Edits: []Edit{{
			"txhooks/outbox/outbox.go",
			"	o.flush(ctx)\n	return nil",
			"	return nil",
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestCloseAcknowledges"},
	},
	{
		Name:    "outbox-close-acknowledges-again",
		Why:     "2b",
		Says:    "Acknowledgements that Close has interrupted are sent again by Close.",
		Removed: "they are left to the relay",
		Edits: []Edit{{
			"txhooks/outbox/ack.go",
			`if ctx.Err() != nil && o.ctx.Err() != nil {`,
			`if false && ctx.Err() != nil && o.ctx.Err() != nil {`,
		}},
		Package: "./txhooks/outbox",
		Tests:   []string{"TestCloseAcknowledgesWhatWasUnderWay"},
	},
}
