package main

var deploys = []Rule{
	{
		Name: "lacked-index-is-not-served", Why: "hazard 2",
		Says:    "An index that a live process does not invalidate is neither served nor filled.",
		Removed: "it is served all the same",
		Edits:   []Edit{{"cachedrepo/standing.go", `			s.maintain, s.lacks = true, o.label`, `			s.maintain, s.lacks = false, o.label`}},
		Package: "./cachedrepo", Tests: []string{"TestStandingIsAFunctionOfTheRows", "TestVersionsRollBack/closed"},
	},
	{
		Name: "returned-index-is-in-a-new-epoch", Why: "hazard 2",
		Says:    "When the last that lacked an index has gone, it is served in a new epoch: what was stored before is not used.",
		Removed: "the epoch stays what it was",
		Edits:   []Edit{{"cachedrepo/standing.go", `		s.epoch = binary.BigEndian.Uint64(h[:]) &^ 1`, `		_ = h`}},
		Package: "./cachedrepo", Tests: []string{"TestStandingIsAFunctionOfTheRows", "TestVersionsRollBack/closed"},
	},
	{
		Name: "maintained-index-is-in-an-odd-epoch", Why: "hazard 2",
		Says:    "What is filled while an index is maintained, by a read that began before, is never used.",
		Removed: "it has the epoch in which the index is served afterwards",
		Edits:   []Edit{{"cachedrepo/standing.go", `		s.epoch |= 1`, `		s.epoch |= 0`}},
		Package: "./cachedrepo", Tests: []string{"TestStandingIsAFunctionOfTheRows", "TestHistoryFillWhileTheIndexIsMaintained/before_get"},
	},
	{
		Name: "a-serial-is-an-epoch", Why: "hazard 2",
		Says:    "A process that was registered under another serial is in another epoch.",
		Removed: "the epoch is made of the process alone",
		Edits:   []Edit{{"cachedrepo/standing.go", `binary.BigEndian.AppendUint64([]byte(last.process), uint64(last.serial))`, `binary.BigEndian.AppendUint64([]byte(last.process), 0)`}},
		Package: "./cachedrepo", Tests: []string{"TestStandingIsAFunctionOfTheRows"},
	},
	{
		Name: "new-process-waits-until-noticed", Why: "hazard 2",
		Says:    "A process that lacks what others serve lets no write return before they must have noticed it.",
		Removed: "it does not wait for them",
		Edits:   []Edit{{"cachedrepo/standing.go", `				d = max(d, o.stopsAfter)`, `				d = max(d, 0*o.stopsAfter)`}},
		Package: "./cachedrepo", Tests: []string{"TestStandingIsAFunctionOfTheRows"},
	},
	{
		Name: "write-of-one-taken-for-dead-waits", Why: "hazard 2",
		Says:    "A process that others may have taken for dead registers anew, and is noticed, before its write returns.",
		Removed: "its write returns at once",
		Edits:   []Edit{{"cachedrepo/invalidate.go", `	if !rt.registry.settled(ctx) {`, `	if false && !rt.registry.settled(ctx) {`}},
		Package: "./cachedrepo", Tests: []string{"TestVersionsStoppedAndContinued"},
	},
	{
		Name: "unheard-indexes-are-not-served", Why: "hazard 2",
		Says:    "A process that has no news of the others for two heartbeats serves no unique index.",
		Removed: "it goes on",
		Edits:   []Edit{{"cachedrepo/registry.go", `|| !r.heard.passed(r.base, now) {`, `|| true {`}},
		Package: "./cachedrepo", Tests: []string{"TestRegistryUnheard"},
	},
	{
		Name: "suspended-clock-counts", Why: "hazard 2, 37",
		Says:    "The wall clock counts as well as the monotonic one, which stands still while a machine is suspended.",
		Removed: "the monotonic clock is believed alone",
		Edits:   []Edit{{"cachedrepo/registry.go", ` || now.UnixNano() >= i.wall.Load()`, ``}},
		Package: "./cachedrepo", Tests: []string{"TestInstantPasses"},
	},
	{
		Name: "silent-process-is-declared-dead", Why: "hazard 2, P4",
		Says:    "A process that has not been seen for five heartbeats is declared dead, and what it lacked is served again.",
		Removed: "nobody declares it dead",
		Edits:   []Edit{{"cachedrepo/registrants.go", `seen_at + expires_after < clock_timestamp() FOR UPDATE`, `seen_at + expires_after < '-infinity' FOR UPDATE`}},
		Package: "./cachedrepo", Tests: []string{"TestVersionsDeployAnIndex/killed"},
	},
	{
		Name: "declared-dead-registers-anew", Why: "hazard 2",
		Says:    "A process that was declared dead registers anew, with a new serial.",
		Removed: "its row is renewed as if nothing had been",
		Edits: []Edit{{"cachedrepo/registrants.go", `UPDATE aside_registrants SET seen_at = now()
		WHERE namespace = $1 AND process = $2::text::uuid AND gone_at IS NULL`, `UPDATE aside_registrants SET seen_at = now(), gone_at = NULL
		WHERE namespace = $1 AND process = $2::text::uuid`}},
		Package: "./cachedrepo", Tests: []string{"TestRegistryDeclaredDead"},
	},
	{
		Name: "rows-of-the-dead-go", Why: "hazard 2",
		Says:    "Rows of the dead that say nothing more are dropped.",
		Removed: "they are kept for a day",
		Edits:   []Edit{{"cachedrepo/registrants.go", `n.serial > d.serial AND n.declares <@ d.declares`, `n.serial > d.serial AND false`}},
		Package: "./cachedrepo", Tests: []string{"TestRegistryRowsOfTheDead"},
	},
	{
		Name: "private-stores-are-not-served-side-by-side", Why: "hazard 32",
		Says:    "Of two processes with a store in memory each, none serves while both live.",
		Removed: "they declare the same",
		Edits:   []Edit{{"cachedrepo/registry.go", `		private = " in memory " + s.Private()`, `		_ = s`}},
		Package: "./cachedrepo", Tests: []string{"TestRegistryPrivateStores"},
	},
	{
		Name: "strict-is-declared", Why: "2c, hazard 2",
		Says:    "A process that knows a table as strict does not serve it while another lives that does not.",
		Removed: "both declare the same",
		Edits: []Edit{{"cachedrepo/registry.go", `			a.declares += " strict"
`, ``}},
		Package: "./cachedrepo", Tests: []string{"TestStrictRollout"},
	},
	{
		Name: "strict-serves-for-default", Why: "2c, hazard 2",
		Says:    "A process in default mode goes on serving a table beside one that knows it as strict, for that one invalidates too.",
		Removed: "the strict one declares itself as strict alone",
		Edits: []Edit{{"cachedrepo/registry.go", `		a.declares = a.spelling() + private
		r.declares = append(r.declares, a.declares)
`, `		a.declares = a.spelling() + private
		if !a.table.rel.Strict {
			r.declares = append(r.declares, a.declares)
		}
`}},
		Package: "./cachedrepo", Tests: []string{"TestStrictRollout"},
	},
	{
		Name: "spelling-is-declared", Why: "hazard 2, 21",
		Says:    "Processes that spell the keys of an index otherwise do not invalidate each other's entries, whatever they call it.",
		Removed: "an index is declared by its name alone",
		Edits:   []Edit{{"cachedrepo/standing.go", `name := rel.Name + "." + a.Name + "(" + strings.Join(kinds, ",") + ")"`, `name := rel.Name + "." + a.Name + strings.Join(kinds[:0], ",")`}},
		Package: "./cachedrepo", Tests: []string{"TestSpellingTellsKeysApart"},
	},
	{
		Name: "namespace-has-one-database", Why: "hazard 11",
		Says:    "A namespace belongs to one database.",
		Removed: "the database that it names is not compared",
		Edits:   []Edit{{"cachedrepo/identity.go", `	case reply.State == store.Value && string(reply.Value) != mine:`, `	case false && string(reply.Value) != mine:`}},
		Package: "./cachedrepo", Tests: []string{"TestNamespaceOfAnotherDatabase"},
	},
	{
		Name: "invalidate-only-reads-the-database", Why: "hazard 2",
		Says:    "A process that is to invalidate only does not ask the store.",
		Removed: "Config.Mode is not looked at",
		Edits:   []Edit{{"cachedrepo/cache.go", `	if cfg.Mode == InvalidateOnly {`, `	if false && cfg.Mode == InvalidateOnly {`}},
		Package: "./cachedrepo", Tests: []string{"TestInvalidateOnly/memory"},
	},
	{
		Name: "off-goes-on-invalidating", Why: "hazard 2",
		Says:    "A process that is switched off goes on invalidating.",
		Removed: "the tables that are switched off are left out",
		Edits: []Edit{{"cachedrepo/invalidate.go", `rt.opsOf(changes, invalidation, func(rel`, `rt.opsOf(changes, func(t *table) (store.Op, bool) {
			return store.Op{Kind: store.Invalidate}, t.accesses[0].unserved.Load()&unservedOff == 0
		}, func(rel`}},
		Package: "./cachedrepo", Tests: []string{"TestInvalidateOnly/memory", "TestSetOffWhileALoadIsUnderWay/memory"},
	},
	{
		Name: "generations-are-apart", Why: "hazard 2",
		Says:    "Entries of another Config.Generation are not seen.",
		Removed: "all generations have one namespace",
		Edits:   []Edit{{"cachedrepo/rollout.go", `	return ns + "~" + strconv.Itoa(generation), nil`, `	return ns + strconv.Itoa(generation)[:0], nil`}},
		Package: "./cachedrepo", Tests: []string{"TestGenerations"},
	},
}
