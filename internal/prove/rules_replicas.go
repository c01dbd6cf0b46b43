package main

const (
	marksGo    = "cachedrepo/marks.go"
	replicasGo = "cachedrepo/replicas.go"
	replicaGo  = "cachedrepo/replica.go"
	lagGo      = "cachedrepo/lag.go"
)

var replicas = []Rule{
	{
		Name: "mark-keeps-loads-off-replicas", Why: "history 16",
		Says:    "A load under a key with a mark goes to the primary.",
		Removed: "marks are not looked at",
		Edits: []Edit{
			{marksGo, "unmarked[i] = granted(i) && rt.unmarked(answers[2*i+1])", "unmarked[i] = granted(i)"},
			{marksGo, "unmarked[i] = rt.unmarked(answers[n])", "_, unmarked[i] = n, true"},
		},
		Package: "./cachedrepo", Tests: []string{"TestHistory16ReplicaBehind/memory", "TestHistory16InOneScript"},
	},
	{
		Name: "mark-before-the-invalidation", Why: "history 16",
		Says:    "A writer arms the mark before it invalidates, intends or releases.",
		Removed: "after it",
		Edits: []Edit{
			{marksGo, "	answers := make([]store.Reply, len(both))\n	err := s.Do(ctx, both, answers)", "	answers := make([]store.Reply, len(both))\n	if !m.paired {\n		if err := s.Do(ctx, ops, replies); err != nil {\n			return err\n		}\n	}\n	err := s.Do(ctx, both, answers)"},
			{marksGo, "	if !m.paired {\n		return s.Do(ctx, ops, replies)\n	}", "	if !m.paired {\n		return nil\n	}"},
		},
		Package: "./cachedrepo", Tests: []string{"TestHistory16MarkComesFirst/memory"},
	},
	{
		Name: "mark-looked-at-after-the-lease", Why: "history 16",
		Says:    "A reader looks for the mark after it has the lease.",
		Removed: "before it",
		Edits: []Edit{{marksGo, `	if err := rt.nodes.do(call, caller, at, "acquire", ops, replies); err != nil {
		return nil, err
	}
	var looks []store.Op`, `	early, seen := make([]store.Op, len(ops)), make([]store.Reply, len(ops))
	for i := range ops {
		early[i] = look(i)
	}
	if err := rt.nodes.do(call, caller, at, "mark", early, seen); err != nil {
		return nil, err
	}
	if err := rt.nodes.do(call, caller, at, "acquire", ops, replies); err != nil {
		return nil, err
	}
	for i := range ops {
		unmarked[i] = granted(i) && rt.unmarked(seen[i])
	}
	if true {
		return unmarked, nil
	}
	var looks []store.Op`}},
		Package: "./cachedrepo", Tests: []string{"TestHistory16MarkIsLookedAtLast/memory"},
	},
	{
		Name: "mark-outlives-lag", Why: "history 16",
		Says:    "A mark stands for longer than a replica that is read may lag.",
		Removed: "for a tenth of that",
		Edits:   []Edit{{marksGo, "life: rt.cfg.Replicas.MaxLag + markMargin,", "life: rt.cfg.Replicas.MaxLag / 10,"}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaMarkOutlivesLag"},
	},
	{
		Name: "mark-with-the-intent", Why: "history 16",
		Says:    "A strict writer arms the mark with its intent already.",
		Removed: "with the release",
		Edits:   []Edit{{marksGo, "	case store.Intend:\n		life += op.TTL\n", ""}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaStrictWriterDies", "TestMarkLife"},
	},
	{
		Name: "mark-outlives-the-intent", Why: "2e",
		Says:    "The mark of an intent stands for the intent's time and its own.",
		Removed: "for its own",
		Edits:   []Edit{{marksGo, "		life += op.TTL\n", ""}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaStrictWriterDies", "TestMarkLife"},
	},
	{
		Name: "mark-or-no-invalidation", Why: "history 16",
		Says:    "If a mark cannot be armed nothing is ended either, and the invalidation is pending.",
		Removed: "it is ended without",
		Edits:   []Edit{{marksGo, "	err := s.Do(ctx, both, answers)\n	if err != nil {", "	err := s.Do(ctx, both, answers)\n	if err != nil && m.paired {"}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaMarkPending/memory"},
	},
	{
		Name: "mark-in-a-full-server", Why: "2e",
		Says:    "A server that is full takes marks all the same.",
		Removed: "it does not",
		Edits:   []Edit{{marksGo, "TTL: life, Always: true}, true", "TTL: life}, true"}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaMarksStay", "TestMarkLife"},
	},
	{
		Name: "mark-not-evicted", Why: "2e",
		Says:    "A server that may evict marks is refused.",
		Removed: "it is not",
		Edits:   []Edit{{"cachedrepo/eviction.go", "	if rt.marks != nil {\n		list", "	if false {\n		list"}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaMarksStay"},
	},
	{
		Name: "mark-of-each-key-of-a-batch", Why: "history 16",
		Says:    "A batch goes to a replica only if none of its keys has a mark.",
		Removed: "it does if the last has none",
		Edits:   []Edit{{"cachedrepo/batchload.go", "unmarked = unmarked && it.lease", "unmarked = it.lease"}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaLoadsBatch/memory"},
	},
	// What a replica proves.
	{
		Name: "lag-by-the-log", Why: "hazard 28",
		Says:    "A replica has what was committed before a moment if it has replayed as much as the primary's log had then.",
		Removed: "it is taken to have all",
		Edits:   []Edit{{lagGo, "s.timeline == p.timeline && p.log >= s.log {", "s.timeline == p.timeline {"}},
		Package: "./cachedrepo", Tests: []string{"TestLagProof"},
	},
	{
		Name: "lag-in-one-history", Why: "hazard 13",
		Says:    "On another timeline, or in another cluster, the same place in the log proves nothing.",
		Removed: "only places are compared",
		Edits:   []Edit{{lagGo, "if s.system == p.system && s.timeline == p.timeline && p.log", "if p.log"}},
		Package: "./cachedrepo", Tests: []string{"TestLagProof"},
	},
	{
		Name: "lag-at-most", Why: "history 16",
		Says:    "A replica that was last proven to have everything longer ago than MaxLag is not read.",
		Removed: "it is read",
		Edits:   []Edit{{replicasGo, "proof != nil && age(proof.at, now) <= within && proof", "proof != nil && proof"}},
		Package: "./cachedrepo", Tests: []string{"TestLagOfAProof"},
	},
	{
		Name: "lag-of-unwritten-commits", Why: "2e",
		Says:    "The primary's log ends where the next record is inserted: a commit may be acknowledged before it is written.",
		Removed: "where it is written",
		Edits:   []Edit{{lagGo, "pg_current_wal_insert_lsn()::text END", "pg_current_wal_lsn()::text END"}},
		Package: "./cachedrepo", Tests: []string{"TestLagOfAnAsynchronousCommit"},
	},
	{
		Name: "lag-of-an-idle-primary", Why: "2e",
		Says:    "A primary on which nobody writes makes no lag, wherever its log ends in a page.",
		Removed: "the header of a page counts as a record",
		Edits:   []Edit{{lagGo, "	s.log = endOfRecord(s.log, page, segment)\n", ""}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaLag"},
	},
	{
		Name: "lag-by-both-clocks", Why: "hazard 37",
		Says:    "How old a proof is both clocks of the process say: one stands still while a virtual machine is suspended.",
		Removed: "the monotonic one alone",
		Edits:   []Edit{{lagGo, "return max(now.Sub(at), time.Duration(now.UnixNano()-at.UnixNano()))", "return now.Sub(at)"}},
		Package: "./cachedrepo", Tests: []string{"TestLagAge"},
	},
	{
		Name: "replica-is-confirmed", Why: "2e",
		Says:    "What was loaded from a replica counts only if it has not crashed since it was proven to be near enough.",
		Removed: "it counts in any case",
		Edits:   []Edit{{replicasGo, "if (err == nil || final(err)) && c.confirm(ctx, c.life) == nil {", "if err == nil || final(err) {"}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaCrashesUnnoticed"},
	},
	{
		Name: "replica-breaks", Why: "2e",
		Says:    "After an error of a replica the next one is asked, then the primary.",
		Removed: "the error is the caller's",
		Edits:   []Edit{{replicasGo, "if (err == nil || final(err)) && c.confirm(ctx, c.life) == nil {", "if err != nil || c.confirm(ctx, c.life) == nil {"}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaBreaks/gone"},
	},
	{
		Name: "replica-of-a-stranger", Why: "hazard 28",
		Says:    "A replica of another database is not read.",
		Removed: "system identifiers are not compared",
		Edits:   []Edit{{replicaGo, "case pos.system != primary.system:", "case false:"}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaStranger"},
	},
	{
		Name: "replica-is-one", Why: "hazard 28",
		Says:    "A server that is no replica, or no longer, is not read as one.",
		Removed: "it may be a primary",
		Edits:   []Edit{{replicaGo, "case !pos.recovery:", "case false:"}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaStranger"},
	},
	{
		Name: "replica-after-a-loss", Why: "history 16",
		Says:    "Where the store has lost its marks a replica must be proven anew.",
		Removed: "what was proven before counts",
		Edits:   []Edit{{replicasGo, "if first := rs.firstSeen(epoch); first.After(since) {", "if first := rs.firstSeen(epoch); false && first.After(since) {"}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaStoreForgets"},
	},
	{
		Name: "replica-and-retire", Why: "2e",
		Says:    "Retire waits until replicas that are read have what was written before.",
		Removed: "it does not wait",
		Edits:   []Edit{{"cachedrepo/retire.go", "if lag := n.rt.cfg.Replicas.MaxLag; lag > 0 {", "if lag := n.rt.cfg.Replicas.MaxLag; false && lag > 0 {"}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaRetire"},
	},
	// Who reads them.
	{
		Name: "replica-not-by-default", Why: "hazard 28",
		Says:    "A load that may not be answered by a replica goes to the primary, whatever the caller's context asks for.",
		Removed: "it goes where the context says",
		Edits:   []Edit{{replicasGo, "	return load(txhooks.OnPrimary(ctx))", "	return load(ctx)"}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaCost"},
	},
	{
		Name: "replica-hidden-by-run", Why: "2e",
		Says:    "OnReplica means nothing to what Run and hooks do: whoever has written reads the primary.",
		Removed: "their contexts have it",
		Edits:   []Edit{{"txhooks/context.go", "	case routeKey: // whoever has just written does not want to read what was there before\n		return nil\n", ""}},
		Package: "./txhooks", Tests: []string{"TestReplica"},
	},
	{
		Name: "replica-not-beside-the-markless", Why: "hazard 2",
		Says:    "While a process is registered that arms no marks nobody reads replicas.",
		Removed: "they are read",
		Edits:   []Edit{{replicasGo, "rs.refused.Swap(!all)", "rs.refused.Swap(false)"}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaRegistry"},
	},
	{
		Name: "replica-writer-taken-for-dead", Why: "hazard 2",
		Says:    "A writer that was taken for dead, and registered anew while it invalidated, invalidates again.",
		Removed: "it looks only at what it is in the end",
		Edits:   []Edit{{"cachedrepo/invalidate.go", "late = late || rt.registry.late() || rt.stats.registered.Load() != entered", "_, late = entered, rt.registry.late()"}},
		Package: "./cachedrepo", Tests: []string{"TestReplicaWriterTakenForDead"},
	},
}
