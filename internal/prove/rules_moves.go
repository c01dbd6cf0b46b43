package main

const (
	epochGo       = "cachedrepo/epoch.go"
	incarnationGo = "cachedrepo/incarnation.go"
	serverEpochGo = "cachedrepo/redisstore/epoch.go"
	serversGo     = "cachedrepo/redisstore/servers.go"
	redisstoreGo  = "cachedrepo/redisstore/redisstore.go"
	acksGo        = "cachedrepo/redisstore/acks.go"
	nodesGo       = "cachedrepo/nodes.go"
	replayGo      = "txhooks/outbox/replay.go"
)

var moves = []Rule{
	{
		Name: "epoch-with-the-lease", Why: "history 17",
		Says:    "The epoch in an entry is that of the moment at which the lease was asked for.",
		Removed: "that of the moment at which the entry is filled",
		Edits:   []Edit{{"cachedrepo/read.go", "entry = r.entry(ctx, res, epoch)", "_, entry = epoch, r.entry(ctx, res, r.acc.epoch(r.key))"}},
		Package: "./cachedrepo", Tests: []string{"TestHistory17FillAfterFailover/noticed_true"},
	},
	{
		Name: "epoch-with-the-lease-of-a-batch", Why: "history 17",
		Says:    "The same for each key of a batch.",
		Removed: "that of the fill",
		Edits:   []Edit{{"cachedrepo/batchload.go", "it.entry(ctx, &loaded[i], it.epoch)", "it.entry(ctx, &loaded[i], it.acc.epoch(it.key))"}},
		Package: "./cachedrepo", Tests: []string{"TestHistory17FindMany"},
	},
	{
		Name: "epoch-on-a-hit", Why: "hazard 7",
		Says:    "An entry of another epoch is not used.",
		Removed: "epochs are not compared",
		Edits:   []Edit{{"cachedrepo/envelope.go", "if e.epoch != epoch {", "if false {"}},
		Package: "./cachedrepo", Tests: []string{"TestHistory17FillAfterFailover/noticed_false", "TestFailoverRestartWithOldFile"},
	},
	{
		Name: "epoch-of-the-server", Why: "history 17",
		Says:    "Who the server of the key is is part of the epoch.",
		Removed: "it is not",
		Edits:   []Edit{{epochGo, "	if a.era.store != nil {\n		e +=", "	if false {\n		e +="}},
		Package: "./cachedrepo", Tests: []string{"TestHistory17FindMany", "TestHistory17FillAfterFailover/noticed_false"},
	},
	{
		Name: "epoch-is-the-replication-id", Why: "hazard 7",
		Says:    "Who a server is is told by its replication id: the run id comes back with the server.",
		Removed: "by its run id alone",
		Edits:   []Edit{{serverEpochGo, `return fields["master_replid"] + " " + fields["run_id"], nil`, `return fields["run_id"], nil`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestEpochABA"},
	},
	{
		Name: "epoch-of-a-new-connection", Why: "hazard 7",
		Says:    "A server is asked anew who it is when a connection was made.",
		Removed: "connections are not noticed",
		Edits:   []Edit{{serversGo, "		if err == nil {\n			h.doubt()\n		}", "		_ = h.doubt"}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestEpochRestartWithOldFile", "TestEpochIsAskedWhenConnectionsAreMade"},
	},
	{
		Name: "epoch-asked-after-the-keys", Why: "hazard 7",
		Says:    "It is asked after the keys: an answer that is older than that says nothing of who sent it.",
		Removed: "before the keys",
		Edits: []Edit{
			{redisstoreGo, "		if err := s.once(ctx, ops, replies); err != nil {", "		if err := s.assure(ctx, ops); err != nil {\n			return err\n		}\n		if err := s.once(ctx, ops, replies); err != nil {"},
			{redisstoreGo, "			return s.assure(ctx, ops)", "			return nil"},
		},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestEpochRestartWithOldFile"},
	},
	{
		Name: "epoch-after-moved", Why: "hazard 7",
		Says:    "After MOVED the answer is judged by the epoch of the server that gave it.",
		Removed: "MOVED is not noticed",
		Edits:   []Edit{{serversGo, "	if s.moves.Load() == 0 {", "	if true {"}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestEpochMoved"},
	},
	{
		Name: "epoch-of-the-new-owner", Why: "hazard 7",
		Says:    "That server is asked who it is, also where it was known before.",
		Removed: "what was known of it counts",
		Edits:   []Edit{{serversGo, "			at.suspect() // it may have been a master before, and the connections to it may be old", "			_ = at"}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestEpochMoved"},
	},
	{
		Name: "epoch-after-refusal", Why: "hazard 8",
		Says:    "A server that has refused as one does that was demoted, or is starting, is asked who it is before its next answer counts.",
		Removed: "refusals raise no doubt",
		Edits:   []Edit{{redisstoreGo, "			if replaced(err) {", "			if false && replaced(err) {"}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestEpochAfterRefusal"},
	},
	{
		Name: "epoch-of-a-replica", Why: "hazard 28",
		Says:    "The answers of a server that says that it is a replica do not count.",
		Removed: "its role is not looked at",
		Edits:   []Edit{{serverEpochGo, `case fields["role"] == "slave":`, `case false:`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestEpochDemoted"},
	},
	{
		Name: "epoch-unknown-fails", Why: "hazard 7",
		Says:    "If a server in doubt does not say who it is, the call fails that it was asked for.",
		Removed: "the call's answer counts",
		Edits:   []Edit{{serverEpochGo, "		return s.ask(ctx, s.only, false)\n", "		_ = s.ask(ctx, s.only, false)\n		return nil\n"}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestEpochUnknown"},
	},
	{
		Name: "epoch-of-nobody", Why: "hazard 7",
		Says:    "Of a server that nobody has asked yet no two epochs are the same.",
		Removed: "it is 0",
		Edits:   []Edit{{serverEpochGo, "if e := at.epoch.Load(); e != 0 || at.blind.Load() {", "if e := at.epoch.Load(); true {"}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestEpochOfNobody"},
	},
	{
		Name: "epoch-flaps", Why: "hazard 7",
		Says:    "An address at which several servers answer in turns is given up, and said to be.",
		Removed: "epochs may come back",
		Edits:   []Edit{{serverEpochGo, "if slices.Contains(at.former, e) {", "if false {"}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestEpochFlaps"},
	},
	{
		Name: "epoch-is-forgotten", Why: "hazard 7",
		Says:    "A server that is no master of a Cluster any more is forgotten: should it be one again, it is asked first.",
		Removed: "it is remembered",
		Edits:   []Edit{{serversGo, "			s.servers.byNode.Delete(node)\n", ""}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestEpochClusterForgets"},
	},
	// The database.
	{
		Name: "incarnation-on-a-hit", Why: "hazard 13",
		Says:    "Which database it is is part of the epoch.",
		Removed: "it is not",
		Edits:   []Edit{{epochGo, "e := a.registered.Load() + a.era.database.Load()", "e := a.registered.Load()"}},
		Package: "./cachedrepo", Tests: []string{"TestIncarnationAfterLostCommits"},
	},
	{
		Name: "incarnation-system", Why: "hazard 13",
		Says:    "A database of another cluster is another.",
		Removed: "the system identifier is left out",
		Edits:   []Edit{{incarnationGo, "SELECT (SELECT system_identifier FROM pg_control_system())::text,", "SELECT ''::text,"}},
		Package: "./cachedrepo", Tests: []string{"TestIncarnationDiffers"},
	},
	{
		Name: "incarnation-database", Why: "hazard 13",
		Says:    "Another database of a cluster is another.",
		Removed: "its oid is left out",
		Edits:   []Edit{{incarnationGo, "(SELECT oid FROM pg_database WHERE datname = current_database())::text,", "''::text,"}},
		Package: "./cachedrepo", Tests: []string{"TestIncarnationDiffers"},
	},
	{
		Name: "incarnation-timeline", Why: "hazard 13",
		Says:    "A standby that was promoted is another.",
		Removed: "the timeline is left out",
		Edits:   []Edit{{incarnationGo, "ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END,", "ELSE '00000001' END,"}},
		Package: "./cachedrepo", Tests: []string{"TestIncarnationDiffers"},
	},
	{
		Name: "incarnation-crash", Why: "hazard 13",
		Says:    "Where synchronous_commit is off a database is another after a crash.",
		Removed: "crashes are left out",
		Edits:   []Edit{{incarnationGo, "THEN (SELECT coalesce((extract(epoch FROM stats_reset) * 1000000)::bigint, 0) FROM pg_stat_bgwriter)::text ELSE '' END", "THEN '' ELSE '' END"}},
		Package: "./cachedrepo", Tests: []string{"TestIncarnationAfterLostCommits"},
	},
	{
		Name: "incarnation-orderly", Why: "hazard 13",
		Says:    "It is the same after a restart in good order.",
		Removed: "the start of the server takes the place of the crash",
		Edits:   []Edit{{incarnationGo, "FROM stats_reset) * 1000000)::bigint, 0) FROM pg_stat_bgwriter)", "FROM pg_postmaster_start_time()) * 1000000)::bigint, 0))"}},
		Package: "./cachedrepo", Tests: []string{"TestIncarnationOrderlyRestart"},
	},
	{
		Name: "incarnation-unknown", Why: "hazard 13",
		Says:    "Until the database has said which it is nothing is read from the store.",
		Removed: "it is",
		Edits:   []Edit{{incarnationGo, "			a.unserve(unservedIncarnation, true)\n", "			_ = a\n"}},
		Package: "./cachedrepo", Tests: []string{"TestIncarnationUnknown"},
	},
	// Told again.
	{
		Name: "move-is-told", Why: "hazard 20",
		Says:    "A server of the store that has become another is noticed within a second, and the outbox told.",
		Removed: "nobody is told",
		Edits:   []Edit{{epochGo, `			rt.moved("a server of the store")`, "			_ = was"}},
		Package: "./cachedrepo", Tests: []string{"TestFailoverIsTold"},
	},
	{
		Name: "move-of-the-unknown", Why: "hazard 20",
		Says:    "A server of which nobody knows who it is has not become another.",
		Removed: "it has",
		Edits:   []Edit{{epochGo, "if e != rt.era.store.Epoch(p.key) {", "if false {"}},
		Package: "./cachedrepo", Tests: []string{"TestWatchOfTheUnknown"},
	},
	{
		Name: "replay-done-rows", Why: "hazard 20",
		Says:    "After a move what was done within Keep is delivered again.",
		Removed: "only what is open is",
		Edits:   []Edit{{replayGo, "WHERE done_at IS NULL OR done_at >= clock_timestamp() - make_interval(secs => $1)", "WHERE done_at IS NULL AND $1::float8 >= 0"}},
		Package: "./txhooks/outbox", Tests: []string{"TestReplayAndPurge"},
	},
	{
		Name: "replay-until-it-worked", Why: "hazard 20",
		Says:    "It is tried until it has worked: the new server may not be there yet.",
		Removed: "it is tried once",
		Edits:   []Edit{{replayGo, "			if err == nil {\n				o.works(\"replay\")", "			if true {\n				o.works(\"replay\")"}},
		Package: "./txhooks/outbox", Tests: []string{"TestForgottenIsToldAgain"},
	},
	// WAIT and clocks.
	{
		Name: "wait-refuses-the-intent", Why: "hazard 36",
		Says:    "An intent that fewer replicas have acknowledged than Config.Acks rolls the write back.",
		Removed: "a short count refuses nothing",
		Edits:   []Edit{{acksGo, "	if refusable {\n		return short", "	if false {\n		return short"}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestAcks"},
	},
	{
		Name: "wait-refuses-the-write", Why: "hazard 36",
		Says:    "Nor does a write whose intents no replica has commit.",
		Removed: "a short count refuses nothing",
		Edits:   []Edit{{acksGo, "	if refusable {\n		return short", "	if false {\n		return short"}},
		Package: "./cachedrepo", Tests: []string{"TestStrictUnacknowledgedIntentRefuses"},
	},
	{
		Name: "wait-after-commit", Why: "hazard 36",
		Says:    "After COMMIT a short count is no error: what was asked has been done.",
		Removed: "it is one",
		Edits:   []Edit{{acksGo, "	if refusable {\n		return short", "	if true {\n		return short"}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestAcks"},
	},
	{
		Name: "wait-is-counted", Why: "hazard 36",
		Says:    "It is counted.",
		Removed: "it is not",
		Edits:   []Edit{{acksGo, "			s.unacked.Add(uint64(len(groups[at])))\n", ""}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestAcks"},
	},
	{
		Name: "clock-skew", Why: "hazard 37",
		Says:    "Clocks that are further apart than strict mode bears are reported.",
		Removed: "they are not",
		Edits:   []Edit{{"cachedrepo/redisstore/clock.go", "apart := skew > maxSkew", "apart := false && skew > maxSkew"}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestSkew"},
	},
	// Who is trusted.
	{
		Name: "refusal-ends-trust", Why: "hazard 8",
		Says:    "One refusal ends the trust in a server, for reads too.",
		Removed: "it counts like silence",
		Edits:   []Edit{{nodesGo, "failures >= threshold || refused || op", "failures >= threshold || op"}},
		Package: "./cachedrepo", Tests: []string{"TestErrorsOfServers/a_lookup_is_refused", "TestErrorsOfServers/a_lease_is_refused", "TestErrorsOfServers/a_fill_is_refused"},
	},
	{
		Name: "refusals-are-told-apart", Why: "hazard 8",
		Says:    "Refusals are told apart from silence.",
		Removed: "all errors are silence",
		Edits:   []Edit{{"cachedrepo/redisstore/refused.go", "	if refused(err) {\n		kind", "	if false {\n		kind"}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestErrorClasses"},
	},
	{
		Name: "full-is-no-refusal", Why: "hazard 8",
		Says:    "A server that is full and still takes invalidations is trusted.",
		Removed: "being full is a failure",
		Edits:   []Edit{{nodesGo, "if errors.Is(err, store.ErrFull) && !writes {", "if false && !writes {"}},
		Package: "./cachedrepo", Tests: []string{"TestErrorsOfServers/full_for_leases", "TestErrorsOfServers/full_for_fills"},
	},
	{
		Name: "silence-ends-trust", Why: "hazard 8",
		Says:    "Three calls in a row that were not answered end it.",
		Removed: "none do",
		Edits:   []Edit{{nodesGo, "failures >= threshold || refused", "refused"}},
		Package: "./cachedrepo", Tests: []string{"TestErrorsOfServers/silent_three_times"},
	},
	{
		Name: "watch-writes", Why: "hazard 8",
		Says:    "A process that only reads has each server take a write now and then, or it would not hear of refusals.",
		Removed: "it has not",
		Edits:   []Edit{{"cachedrepo/watch.go", "			n.learn()\n			n.ask()", "			n.learn()"}},
		Package: "./cachedrepo", Tests: []string{"TestWatchLooks"},
	},
	{
		Name: "watch-ends-trust", Why: "hazard 8",
		Says:    "A server that does not answer that is not trusted.",
		Removed: "it counts like any call",
		Edits:   []Edit{{nodesGo, `refused || op == "probe" || op == "intend" {`, `op == "intend" {`}},
		Package: "./cachedrepo", Tests: []string{"TestWatchOfAReader/replicas_are_missing"},
	},
	{
		Name: "probe-writes", Why: "hazard 8",
		Says:    "Trust comes back with a write that was taken, not with a read.",
		Removed: "the prober writes nothing",
		Edits:   []Edit{{"cachedrepo/probe.go", "	return n.replay(ctx, invalidations([]string{key}))", "	_ = key\n	return nil"}},
		Package: "./cachedrepo", Tests: []string{"TestWatchOfACluster"},
	},
	{
		Name: "breaker-for-each-server", Why: "hazard 41",
		Says:    "A server that is away is nothing to the keys of the others.",
		Removed: "all share one breaker",
		Edits:   []Edit{{nodesGo, "	at := n.byName[name]\n	return at == nil || !at.distrust.Load()", "	_ = name\n	for _, at := range n.byName {\n		if at.distrust.Load() {\n			return false\n		}\n	}\n	return true"}},
		Package: "./cachedrepo", Tests: []string{"TestNodesOneIsAway/down"},
	},
	{
		Name: "pending-is-of-the-process", Why: "hazard 41",
		Says:    "A key with a pending invalidation is read from the database wherever it moves.",
		Removed: "only the trust in its server counts",
		Edits:   []Edit{{nodesGo, "if _, pending := n.pending[key]; pending || n.sending[key] > 0 {", "if false {"}},
		Package: "./cachedrepo", Tests: []string{"TestNodesPendingKeyMoves"},
	},
}
