package main

var reading = []Rule{
	{
		Name: "late-fill-is-refused", Why: "history 1",
		Says:    "What was read before a write and arrives after it is not stored.",
		Removed: "invalidate leaves leases as they are, in Go and in Lua",
		Edits: []Edit{
			{step, `if e.State == Value || e.State == Lease {`, `if e.State == Value {`},
			{stepLua, `if e.state ~= INTENT then e = { state = ABSENT } end`, `if e.state ~= INTENT and e.state ~= LEASE then e = { state = ABSENT } end`},
		},
		Package: "./cachedrepo", Tests: []string{"TestHistory1FillAfterTheWriteIsRefused", "TestHistory1FindMany"},
	},
	{
		Name: "nobody-joins-any-load", Why: "history 13, S0",
		Says:    "A read that finds no lease makes a load of its own, whatever load of the same row is running.",
		Removed: "a read first joins the load of its key that is running",
		Edits: []Edit{
			{"cachedrepo/flight.go", `	token  store.Token // the lease; zero`, `	key    string
	token  store.Token // the lease; zero`},
			{"cachedrepo/read.go", `		epoch, f := r.acc.epoch(r.key), r.c.flights.leased(ctx, nil)
`, `		epoch, f := r.acc.epoch(r.key), r.c.flights.leased(ctx, nil)
		f.key = r.key
`},
			{"cachedrepo/read.go", `	var waitUntil time.Time
`, `	r.c.flights.mu.Lock()
	var running *flight
	for _, f := range r.c.flights.byToken {
		if f.key == r.key {
			running = f
		}
	}
	if running != nil {
		running.waiters++
	}
	r.c.flights.mu.Unlock()
	if running != nil {
		if done, err := r.finish(ctx, running, dst, false); done {
			return false, err
		}
	}
	var waitUntil time.Time
`},
		},
		Package: "./cachedrepo", Tests: []string{"TestHistory13NobodyJoinsALoadThatMayHaveReadOld/memory"},
	},
	{
		Name: "join-compares-the-lease", Why: "history 13, S1",
		Says:    "A read that finds a lease joins the load that holds that very lease, and no other.",
		Removed: "whoever finds a lease joins a load of the process",
		Edits: []Edit{{"cachedrepo/flight.go", `	f := fs.byToken[t]
	if f == nil || !protocol.Joins(t, f.token, true) {`, `	f := fs.byToken[t]
	for _, other := range fs.byToken {
		if f == nil {
			f = other
		}
	}
	if f == nil || !protocol.Joins(f.token, f.token, true) {`}},
		Package: "./cachedrepo", Tests: []string{"TestHistory13LeaseOfAnotherProcess/memory"},
	},
	{
		Name: "join-unsent-only", Why: "history 13, S2",
		Says:    "A load that stores nothing is joined only by those who came before its query was sent.",
		Removed: "the load of the key that is running is joined",
		Edits: []Edit{{
			"cachedrepo/load.go", `if f := fs.unsent[key]; f != nil && protocol.Joins(store.Token{}, f.token, !f.queued) {`,
			`if f := fs.last[key]; f != nil && protocol.Joins(store.Token{}, f.token, false) {`,
		}},
		Package: "./cachedrepo", Tests: []string{"TestHistory13JoinUnsent/memory"},
	},
	{
		Name: "look-is-shared-unsent-only", Why: "history 13",
		Says:    "A look at the store is shared only by those who came before it was sent.",
		Removed: "a look that is out is joined",
		Edits:   []Edit{{"cachedrepo/lookup.go", `		if out.sent {`, `		if false && out.sent {`}},
		Package: "./cachedrepo", Tests: []string{"TestHistory13NobodySharesALookThatWasSent/memory"},
	},
	{
		Name: "who-may-join", Why: "history 13",
		Says:    "Who may join a load is decided by the lease that was found, or by the load not having been sent.",
		Removed: "everybody may",
		Edits:   []Edit{{"cachedrepo/internal/protocol/read.go", `return !sent || found == held && held != store.Token{}`, `return true`}},
		Package: "./cachedrepo/internal/protocol", Tests: []string{"TestWhoMayJoinALoad"},
	},
	{
		Name: "model-misses-who-may-join", Why: "history 13, P1",
		Says:    "If everybody may join any load the model breaks P1.",
		Removed: "everybody may",
		Edits:   []Edit{{"cachedrepo/internal/protocol/read.go", `return !sent || found == held && held != store.Token{}`, `return true`}},
		Package: "./cachedrepo/internal/modelcheck", Tests: []string{"TestVerdicts"},
	},
	{
		Name: "load-after-the-lease", Why: "history 14",
		Says:    "A load begins after the store has given the lease.",
		Removed: "Find reads the database before it asks for the lease",
		Edits: []Edit{
			{"cachedrepo/read.go", `		op := store.Op{Kind: store.Acquire, Key: r.key, Token`, `		early := r.fetch(ctx, false)
		op := store.Op{Kind: store.Acquire, Key: r.key, Token`},
			{"cachedrepo/read.go", `			res := r.fetch(ctx, unmarked)`, `			res := early
			_ = unmarked`},
		},
		Package: "./cachedrepo", Tests: []string{"TestHistory14ReadAfterTheLease/Find/memory"},
	},
	{
		Name: "batch-loads-after-the-leases", Why: "history 14",
		Says:    "The load of a batch begins after the store has given its leases.",
		Removed: "FindMany reads the database before it looks at the store",
		Edits: []Edit{{"cachedrepo/findmany.go", `	hits := b.fromStore(ctx)
`, `	all := make([]int, len(places))
	for i := range all {
		all[i] = i
	}
	early, earlyErr := query(ctx, all)
	b.query = func(context.Context, []int) ([]T, error) { return early, earlyErr }
	hits := b.fromStore(ctx)
`}},
		Package: "./cachedrepo", Tests: []string{"TestHistory14ReadAfterTheLease/FindMany/memory"},
	},
	{
		Name: "snapshots-store-nothing", Why: "history 14",
		Says:    "A read in a transaction with a snapshot of its own neither fills nor hits.",
		Removed: "reads in transactions go to the store as all do",
		Edits:   []Edit{{"cachedrepo/options.go", `	if c.db.In(ctx) {`, `	if false && c.db.In(ctx) {`}},
		Package: "./cachedrepo", Tests: []string{"TestHistory14RepeatableReadStoresNothing/memory"},
	},
	{
		Name: "transactions-go-past-the-store", Why: "history 15",
		Says:    "Inside a transaction the store is neither asked nor filled: its own writes are not there, and are nobody else's business.",
		Removed: "reads in transactions go to the store as all do",
		Edits:   []Edit{{"cachedrepo/options.go", `	if c.db.In(ctx) {`, `	if false && c.db.In(ctx) {`}},
		Package: "./cachedrepo", Tests: []string{"TestHistory15NothingOfATransactionIsSeenBeforeItsCommit/stored=true,committed/memory", "TestViewInTransaction/memory"},
	},
	{
		Name: "epoch-is-compared", Why: "2f",
		Says:    "A value of another epoch is a miss.",
		Removed: "the epoch of a value is not looked at",
		Edits:   []Edit{{"cachedrepo/envelope.go", `	if e.epoch != epoch {`, `	if false && e.epoch != epoch {`}},
		Package: "./cachedrepo", Tests: []string{"TestEnvelopeOpens", "TestHistoryFillWhileTheIndexIsMaintained"},
	},
	{
		Name: "fingerprint-is-compared", Why: "hazard 12",
		Says:    "A value of another version of the record is a miss.",
		Removed: "the fingerprint of a value is not looked at",
		Edits:   []Edit{{"cachedrepo/envelope.go", `	if e.fingerprint != fingerprint {`, `	if false && e.fingerprint != fingerprint {`}},
		Package: "./cachedrepo", Tests: []string{"TestEnvelopeOpens", "TestHistoryValueOfAnotherVersionIsTakenOver/memory"},
	},
	{
		Name: "damage-is-seen", Why: "2f",
		Says:    "A value that is damaged anywhere is a miss.",
		Removed: "the checksum is not compared",
		Edits:   []Edit{{"cachedrepo/envelope.go", `binary.BigEndian.Uint32(b[22:]) != checksum(key, b[:22], e.payload)`, `false`}},
		Package: "./cachedrepo", Tests: []string{"TestDamageIsSeen", "TestBadEntries"},
	},
	{
		Name: "a-value-belongs-to-its-key", Why: "2f",
		Says:    "A value under the key of another row is a miss.",
		Removed: "the checksum leaves the key out",
		Edits:   []Edit{{"cachedrepo/envelope.go", `unsafe.Slice(unsafe.StringData(key), len(key))) // which`, `unsafe.Slice(unsafe.StringData(key), 0)) // which`}},
		Package: "./cachedrepo", Tests: []string{"TestEnvelopeOpens", "TestBadEntries"},
	},
	{
		Name: "unusable-is-taken-over", Why: "2f, hazard 12",
		Says:    "A value that nobody can use does not block its key: it is taken over.",
		Removed: "a reader leaves it and goes to the database",
		Edits: []Edit{{"cachedrepo/internal/protocol/read.go", `		case Unusable:
			return TakeOver`, `		case Unusable:
			return Database`}},
		Package: "./cachedrepo", Tests: []string{"TestHistoryForeignValueIsTakenOver/memory", "TestHistoryValueOfAnotherVersionIsTakenOver/memory"},
	},
	{
		Name: "take-over-of-what-was-seen", Why: "2f, hazard 12",
		Says:    "A value that came after the one that was seen is not taken over unseen.",
		Removed: "acquire-over does not compare the bytes, in Go and in Lua",
		Edits: []Edit{
			{step, `e.State == Absent || e.State == Value && bytes.Equal(e.Value, op.Value)`, `e.State == Absent || e.State == Value`},
			{stepLua, `(e.state == VALUE and e.value == value)`, `e.state == VALUE`},
		},
		Package: "./cachedrepo", Tests: []string{"TestHistoryTakeOverOnlyWhatWasSeen/memory"},
	},
	{
		Name: "newer-version-keeps-the-key", Why: "2f, hazard 12",
		Says:    "Of two versions of a program the older leaves the values of the newer alone, reads the database and stores nothing.",
		Removed: "the builds are not compared",
		Edits:   []Edit{{"cachedrepo/read.go", `errors.Is(err, errFingerprint) && e.build > r.c.cfg.Build && t.older.yields()`, `false && errors.Is(err, errFingerprint) && t.older.yields()`}},
		Package: "./cachedrepo", Tests: []string{"TestHistoryNewerVersionKeepsTheKey/memory"},
	},
	{
		Name: "older-version-tries-again", Why: "P4, hazard 12",
		Says:    "After a rollback the older version takes the values of the newer over all the same, now and then.",
		Removed: "it never does",
		Edits:   []Edit{{"cachedrepo/build.go", `return o.n.Add(1)%probeOlder != 0`, `return o.n.Add(1) != 0`}},
		Package: "./cachedrepo", Tests: []string{"TestHistoryNewerVersionKeepsTheKey/memory"},
	},
	{
		Name: "not-found-is-a-value", Why: "2b",
		Says:    "That there is no row is stored like any value.",
		Removed: "it is never stored",
		Edits:   []Edit{{"cachedrepo/fill.go", `if a == present || r.c.opts.Negative < 0`, `if true || a == present || r.c.opts.Negative < 0`}},
		Package: "./cachedrepo", Tests: []string{"TestHistoryNotFoundThenInserted/memory", "TestNotFound"},
	},
	{
		Name: "negative-is-an-option", Why: "2b",
		Says:    "With Options.Negative below 0 it is not stored that there is no row.",
		Removed: "the option is not looked at",
		Edits:   []Edit{{"cachedrepo/fill.go", `a == present || r.c.opts.Negative < 0 ||`, `a == present ||`}},
		Package: "./cachedrepo", Tests: []string{"TestNotFoundNegative"},
	},
	{
		Name: "absence-only-of-one-spelling", Why: "hazard 3",
		Says:    "That there is no row is stored only under values that have one spelling.",
		Removed: "it is stored under every value",
		Edits:   []Edit{{"cachedrepo/fill.go", `|| !r.acc.holdsAbsence(r.data) {`, `{`}},
		Package: "./cachedrepo", Tests: []string{"TestWiderEquality/allowed", "TestUUIDSpelling"},
	},
	{
		Name: "row-is-stored-under-its-own-value", Why: "hazard 3",
		Says:    "A row whose own value is not the one that was asked for is returned and not stored.",
		Removed: "the two are not compared",
		Edits:   []Edit{{"cachedrepo/fill.go", `if err != nil || !slices.Equal(own, r.data) {`, `if err != nil || false && !slices.Equal(own, r.data) {`}},
		Package: "./cachedrepo", Tests: []string{"TestViewKeyMismatch/memory", "TestForeignRowIsNotStored"},
	},
	{
		Name: "batch-asks-again-one-by-one", Why: "hazard 3",
		Says:    "If a batch finds a row that nobody asked for, as the bytes go, the keys without a row are asked for one by one and stored by none.",
		Removed: "a row of another spelling is dropped",
		Edits: []Edit{{"cachedrepo/batchload.go", `			strangers = true
`, ``}, {"cachedrepo/batchload.go", `	strangers := false
`, `	const strangers = false
`}},
		Package: "./cachedrepo", Tests: []string{"TestWiderEquality/allowed"},
	},
	{
		Name: "sharers-get-their-own-record", Why: "hazard 18",
		Says:    "Each caller who shares a load has a record of its own.",
		Removed: "all get the one that was loaded",
		Edits:   []Edit{{"cachedrepo/result.go", `if t.rel.Immutable || r.taken.CompareAndSwap(false, true) {`, `if true || r.taken.CompareAndSwap(false, true) {`}},
		Package: "./cachedrepo", Tests: []string{"TestSharersHaveTheirOwnMemory/memory", "TestSharersOfUnstoredLoadsHaveTheirOwnMemory/memory", "TestRecordsShareNoMemory/memory"},
	},
	{
		Name: "twice-in-a-batch-is-two-records", Why: "hazard 18",
		Says:    "A key that stands twice in a batch has two records.",
		Removed: "it has one record twice",
		Edits:   []Edit{{"cachedrepo/findmany.go", `if it.given && !it.acc.table.rel.Immutable {`, `if false && it.given && !it.acc.table.rel.Immutable {`}},
		Package: "./cachedrepo", Tests: []string{"TestSharersHaveTheirOwnMemory/memory", "TestRecordsShareNoMemory/memory"},
	},
	{
		Name: "lease-outlives-load", Why: "hazard 38",
		Says:    "A lease lasts longer than its load may take, and the calls before and after it.",
		Removed: "a lease lasts as long as one call of the store",
		Edits:   []Edit{{"cachedrepo/read.go", `return rt.cfg.LoadTimeout + 2*rt.cfg.Timeout`, `return rt.cfg.Timeout`}},
		Package: "./cachedrepo", Tests: []string{"TestLeaseOutlivesLoad"},
	},
	{
		Name: "unheard-of-lease-is-given-up", Why: "P4",
		Says:    "A lease whose grant was not heard of is given up.",
		Removed: "Find leaves it to its deadline",
		Edits: []Edit{{"cachedrepo/read.go", `		if err != nil {
			r.c.abandon(ctx, []settlement{{key: r.key, token: f.token}})
		}
`, ``}},
		Package: "./cachedrepo", Tests: []string{"TestLeaseThatWasNotHeardOf/one", "TestCallerWhoLeavesWhileAcquiring/Find"},
	},
	{
		Name: "unheard-of-leases-are-given-up", Why: "P4",
		Says:    "The leases of a batch whose grant was not heard of are given up.",
		Removed: "FindMany leaves them to their deadline",
		Edits:   []Edit{{"cachedrepo/batch.go", `		b.c.abandon(ctx, leases)`, `		_ = leases`}},
		Package: "./cachedrepo", Tests: []string{"TestLeaseThatWasNotHeardOf/batch", "TestCallerWhoLeavesWhileAcquiring/FindMany"},
	},
	{
		Name: "failed-load-gives-the-lease-up", Why: "P4",
		Says:    "After a load that failed the lease is given up.",
		Removed: "it is left to its deadline",
		Edits: []Edit{{
			"cachedrepo/read.go", `			r.c.settle(ctx, []settlement{{r.key, f.token, entry,`,
			`			if entry == nil {
				return
			}
			r.c.settle(ctx, []settlement{{r.key, f.token, entry,`,
		}},
		Package: "./cachedrepo", Tests: []string{"TestFailedLoadGivesItsLeaseUp/memory"},
	},
	{
		Name: "scope-is-in-the-key", Why: "hazard 11",
		Says:    "The key of a row in a table with scopes has the scope in it, for readers and for writers.",
		Removed: "the scope is in no key",
		Edits: []Edit{
			{"cachedrepo/value.go", `		buf = append(buf, scope)
	}
	return at.Data(buf)`, `		_ = scope
	}
	return at.Data(buf)`},
			{"cachedrepo/value.go", `		buf = append(buf, scope)
	}
	return a.Of(buf, rec)`, `		_ = scope
	}
	return a.Of(buf, rec)`},
			{"cachedrepo/value.go", `		buf = append(buf, a.table.rel.ScopeOfImage(img))
`, ``},
		},
		Package: "./cachedrepo", Tests: []string{"TestTenantsNeverSeeEachOther/memory", "TestTenantsHaveTheirOwnAbsence/memory", "TestTouchInScope/memory"},
	},
	{
		Name: "keys-are-injective", Why: "hazard 21",
		Says:    "Two values have two keys: what separates them is escaped within them.",
		Removed: "a colon stands for itself",
		Edits:   []Edit{{"cachedrepo/key.go", `case c <= ' ', c == 0x7f, c == ':', c == '%'`, `case c <= ' ', c == 0x7f, c == '%'`}},
		Package: "./cachedrepo", Tests: []string{"TestKeysOfNeighbours"},
	},
}
