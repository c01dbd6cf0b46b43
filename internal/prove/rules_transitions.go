package main

const (
	step    = "cachedrepo/store/step.go"
	stepLua = "cachedrepo/redisstore/step.lua"
)

// transitions are the tables of 2a and 2d: store.Step, and its twins in the stores.
var transitions = []Rule{
	{
		Name: "step-fill-needs-lease", Why: "2a, history 1",
		Says:    "A fill of a key that is absent is refused: the lease that it was guarded by has ended.",
		Removed: "Step lets fill store at an absent key",
		Edits: []Edit{{step, `case e.State == Lease && e.Token == op.Token:
			e = Entry{State: Value`, `case e.State == Absent || e.State == Lease && e.Token == op.Token:
			e = Entry{State: Value`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable", "TestDeadlines"},
	},
	{
		Name: "step-fill-needs-own-lease", Why: "2a, history 1",
		Says:    "A fill under the lease of somebody else is refused.",
		Removed: "Step does not compare the token of fill",
		Edits: []Edit{{step, `case e.State == Lease && e.Token == op.Token:
			e = Entry{State: Value`, `case e.State == Lease:
			e = Entry{State: Value`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-fill-leaves-intents", Why: "2a, history 7",
		Says:    "A fill of a key with intents is refused, whatever its token.",
		Removed: "Step lets fill store over intents",
		Edits: []Edit{{step, `case e.State == Lease && e.Token == op.Token:
			e = Entry{State: Value`, `case e.State == Intent || e.State == Lease && e.Token == op.Token:
			e = Entry{State: Value`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-fill-leaves-values", Why: "2a",
		Says:    "A fill does not replace a value: the lease of who brings it has ended.",
		Removed: "Step lets fill store over a value",
		Edits: []Edit{{step, `case e.State == Lease && e.Token == op.Token:
			e = Entry{State: Value`, `case e.State == Value || e.State == Lease && e.Token == op.Token:
			e = Entry{State: Value`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-fill-repeated-is-no-loss", Why: "2a",
		Says:    "A fill that finds the very bytes that it brings is not refused: its client has repeated it.",
		Removed: "Step refuses a repeated fill",
		Edits:   []Edit{{step, `case e.State == Value && bytes.Equal(e.Value, op.Value):`, `case false:`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-acquire-leaves-leases", Why: "2a",
		Says:    "Acquire does not take the lease of another away: it would be taken from the next one, too, and nobody's fill would count.",
		Removed: "Step gives a lease that somebody has",
		Edits: []Edit{{step, `		if e.State == Absent {
			e = Entry{State: Lease, Token: op.Token, Expires: expires}
		}
		// Lease(x)`, `		if e.State == Absent || e.State == Lease {
			e = Entry{State: Lease, Token: op.Token, Expires: expires}
		}
		// Lease(x)`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-acquire-leaves-intents", Why: "2a, history 9",
		Says:    "Acquire of a key with intents answers so and changes nothing: who reads there stores nothing.",
		Removed: "Step gives a lease in the place of intents",
		Edits: []Edit{{step, `		if e.State == Absent {
			e = Entry{State: Lease, Token: op.Token, Expires: expires}
		}
		// Lease(x)`, `		if e.State == Absent || e.State == Intent {
			e = Entry{State: Lease, Token: op.Token, Expires: expires}
		}
		// Lease(x)`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-lease-is-not-prolonged", Why: "2a, hazard 38",
		Says:    "Acquire repeated by the holder of the lease does not make it longer: it would outlive its load.",
		Removed: "Step lets the holder's acquire begin the lease anew",
		Edits: []Edit{{step, `		if e.State == Absent {
			e = Entry{State: Lease, Token: op.Token, Expires: expires}
		}
		// Lease(x)`, `		if e.State == Absent || e.State == Lease && e.Token == op.Token {
			e = Entry{State: Lease, Token: op.Token, Expires: expires}
		}
		// Lease(x)`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-acquire-over-compares", Why: "2f, hazard 12",
		Says:    "Acquire-over takes over the very bytes that were seen, and no other value.",
		Removed: "Step does not compare the bytes",
		Edits:   []Edit{{step, `e.State == Absent || e.State == Value && bytes.Equal(e.Value, op.Value)`, `e.State == Absent || e.State == Value`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-abandon-by-token", Why: "2a",
		Says:    "Abandon ends the caller's own lease alone.",
		Removed: "Step does not compare the token of abandon",
		Edits: []Edit{{step, `	case Abandon:
		if e.State == Lease && e.Token == op.Token {`, `	case Abandon:
		if e.State == Lease {`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-abandon-frees-the-key", Why: "2a, P4",
		Says:    "Abandon ends the lease: after a load that failed the next reader need not wait for its deadline.",
		Removed: "abandon does nothing in Step",
		Edits: []Edit{{step, `	case Abandon:
		if e.State == Lease && e.Token == op.Token {`, `	case Abandon:
		if false {`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-intend-ends-values", Why: "2a, history 4",
		Says:    "Intend ends the value: once somebody has read the new row beside it nobody may hit it.",
		Removed: "Step leaves a value as it is at intend",
		Edits:   []Edit{{step, `	case Intend:`, "	case Intend:\n		if e.State == Value {\n			break\n		}"}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-intend-ends-leases", Why: "2a, history 8",
		Says:    "Intend ends the lease: what its holder has read is about to be old.",
		Removed: "Step leaves a lease as it is at intend",
		Edits:   []Edit{{step, `	case Intend:`, "	case Intend:\n		if e.State == Lease {\n			break\n		}"}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-intend-keeps-others", Why: "2a, history 9",
		Says:    "Intend adds its token to those that are there.",
		Removed: "Step keeps the last writer's token alone",
		Edits:   []Edit{{step, `State: Intent, Writers: with(e.Writers, op.Token, expires)`, `State: Intent, Writers: with(nil, op.Token, expires)`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable", "TestNeverShortened"},
	},
	{
		Name: "step-deadlines-are-per-token", Why: "2a, P4",
		Says:    "Each token has its own deadline: that of a dead writer does not live on because others come.",
		Removed: "intend gives all tokens the deadline of the new one, unless theirs is later",
		Edits: []Edit{{step, `	return slices.Insert(ws, i, Writer{t, deadline})`, `	for j := range ws {
		ws[j].Deadline = max(ws[j].Deadline, deadline)
	}
	return slices.Insert(ws, i, Writer{t, deadline})`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable", "TestGenerationTable"},
	},
	{
		Name: "step-deadline-is-never-shortened", Why: "2a",
		Says:    "A late repeat of intend does not take a renewal of its token back.",
		Removed: "the deadline of a token is that of the last intend",
		Edits:   []Edit{{step, `ws[i].Deadline = max(ws[i].Deadline, deadline)`, `ws[i].Deadline = deadline`}},
		Package: "./cachedrepo/store", Tests: []string{"TestNeverShortened"},
	},
	{
		Name: "step-intent-lives-as-its-last-token", Why: "2a, P3",
		Says:    "The key of an intent lives until the latest deadline in it.",
		Removed: "the key lives as long as the token that came last",
		Edits: []Edit{{step, `		e.Expires = e.lastDeadline()

	case Release:`, `		e.Expires = expires

	case Release:`}},
		Package: "./cachedrepo/store", Tests: []string{"TestNeverShortened"},
	},
	{
		Name: "step-dead-tokens-are-dropped", Why: "2a, P4",
		Says:    "Every operation first drops the tokens that are past their deadline.",
		Removed: "Step keeps dead tokens as long as the key lives",
		Edits:   []Edit{{step, `if slices.ContainsFunc(e.Writers, dead) {`, `if false && slices.ContainsFunc(e.Writers, dead) {`}},
		Package: "./cachedrepo/store", Tests: []string{"TestDeadlines"},
	},
	{
		Name: "step-deadlines-end-keys", Why: "2a, P4",
		Says:    "A value, a lease, an intent and a generation end with their deadline.",
		Removed: "Step does not look at the deadline of a key",
		Edits:   []Edit{{step, `e.State == Absent || e.Expires <= ms`, `e.State == Absent`}},
		Package: "./cachedrepo/store", Tests: []string{"TestDeadlines"},
	},
	{
		Name: "step-lost-release-ends-values", Why: "2a, history 11",
		Says:    "A release that finds a value in the place of its token ends it.",
		Removed: "Step leaves a value as it is at release",
		Edits:   []Edit{{step, `		case Value, Lease:`, `		case Lease:`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-lost-release-ends-leases", Why: "2a, history 10",
		Says:    "A release that finds a lease in the place of its token ends it: its holder may have read the old row.",
		Removed: "Step leaves a lease as it is at release",
		Edits:   []Edit{{step, `		case Value, Lease:`, `		case Value:`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-release-leaves-others", Why: "2a, history 12",
		Says:    "A release takes its own token back and leaves those of others.",
		Removed: "Step ends the intent at the first release",
		Edits: []Edit{{
			step, `if e.Writers, found = without(e.Writers, op.Token); len(e.Writers) == 0 {`,
			`if _, found = without(e.Writers, op.Token); true {`,
		}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-lost-is-answered", Why: "2a, history 11",
		Says:    "A release that does not find its token answers LOST.",
		Removed: "release never answers LOST",
		Edits:   []Edit{{step, `lost = !found`, `lost = false && !found`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable", "TestDeadlines"},
	},
	{
		Name: "step-invalidate-ends-leases", Why: "2a, history 1",
		Says:    "Invalidate ends the lease, too: its holder may have read the old row.",
		Removed: "Step leaves a lease as it is at invalidate",
		Edits:   []Edit{{step, `if e.State == Value || e.State == Lease {`, `if e.State == Value {`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-invalidate-leaves-intents", Why: "2a, history 12",
		Says:    "Invalidate leaves intents as they are: they are other writers', who have not committed yet.",
		Removed: "Step ends whatever is there at invalidate",
		Edits:   []Edit{{step, `if e.State == Value || e.State == Lease {`, `if e.State != Absent {`}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-wrong-kind-changes-nothing", Why: "2d",
		Says:    "An operation of entries on a generation changes nothing.",
		Removed: "Step treats a generation like an entry",
		Edits: []Edit{{step, `	if e.State == Generation {
		return e, e.reply(op.Kind, op.Kind == Release, op.Kind == Fill)
	}
`, ``}},
		Package: "./cachedrepo/store", Tests: []string{"TestEntryTable"},
	},
	{
		Name: "step-bump-ends-the-generation", Why: "2d, history 18",
		Says:    "A bump ends the generation: what was filled with its stamps, even after the COMMIT, is never a hit again.",
		Removed: "bump does nothing in Step",
		Edits:   []Edit{{step, "	case Bump:\n		e = e.end(op.Token, now)", "	case Bump:"}},
		Package: "./cachedrepo/store", Tests: []string{"TestGenerationTable"},
	},
	{
		Name: "step-bump-keeps-tokens", Why: "2d",
		Says:    "A bump leaves the tokens of writers who have not committed yet.",
		Removed: "Step ends a generation with the tokens in it",
		Edits: []Edit{{step, `	if len(e.Writers) == 0 {
		return Entry{}
	}
	e.Token = nonce(salt, e.Token, now)`, `	if true {
		return Entry{}
	}
	e.Token = nonce(salt, e.Token, now)`}},
		Package: "./cachedrepo/store", Tests: []string{"TestGenerationTable"},
	},
	{
		Name: "step-held-while-there-are-tokens", Why: "2d, history 19",
		Says:    "A generation with live tokens says so, and nobody fills: its nonce is from before the COMMIT.",
		Removed: "the reply of Step never says that there are tokens",
		Edits:   []Edit{{step, `r.Held = e.State == Generation && len(e.Writers) > 0`, `r.Held = false`}},
		Package: "./cachedrepo/store", Tests: []string{"TestGenerationTable"},
	},
	{
		Name: "step-enter-bumps", Why: "2d, history 20",
		Says:    "Enter starts a new generation: stamps from before the token are worthless even if its writer never leaves.",
		Removed: "Step keeps the nonce at enter",
		Edits: []Edit{{step, `		e = Entry{
			State: Generation, Token: nonce(op.Token, e.Token, now),`, `		was := e.Token
		if e.State == Absent {
			was = nonce(op.Token, e.Token, now)
		}
		e = Entry{
			State: Generation, Token: was,`}},
		Package: "./cachedrepo/store", Tests: []string{"TestGenerationTable", "TestClockThatStandsStill"},
	},
	{
		Name: "step-enter-keeps-others", Why: "2d, history 9",
		Says:    "Enter adds its token to those that are there.",
		Removed: "Step keeps the last writer's token alone in a generation",
		Edits:   []Edit{{step, `			Writers: with(e.Writers, op.Token, expires), Expires:`, `			Writers: with(nil, op.Token, expires), Expires:`}},
		Package: "./cachedrepo/store", Tests: []string{"TestGenerationTable"},
	},
	{
		Name: "step-lost-leave-bumps", Why: "2d",
		Says:    "A leave that does not find its token ends the generation, and answers LOST.",
		Removed: "Step keeps the nonce at such a leave",
		Edits:   []Edit{{step, `e, lost = e.end(op.Token, now), true`, `lost = true`}},
		Package: "./cachedrepo/store", Tests: []string{"TestGenerationTable", "TestDeadlines"},
	},
	{
		Name: "step-nonce-is-no-counter", Why: "2d, history 21",
		Says:    "The nonce of a generation that was evicted does not come back with the number of its bumps.",
		Removed: "a nonce depends on the nonce before alone",
		Edits:   []Edit{{step, `sum := sha1.Sum(b)`, `sum := sha1.Sum(b[16:32])`}},
		Package: "./cachedrepo/store", Tests: []string{"TestRepeatedCommand"},
	},
	{
		Name: "step-nonce-is-not-the-callers", Why: "2d",
		Says:    "A nonce is made where the operation runs: a repeated command does not bring the one of its first run back.",
		Removed: "a nonce depends on the caller's token alone",
		Edits:   []Edit{{step, `sum := sha1.Sum(b)`, `sum := sha1.Sum(b[:16])`}},
		Package: "./cachedrepo/store", Tests: []string{"TestRepeatedCommand", "TestClockThatStandsStill"},
	},
	{
		Name: "step-nonce-has-the-time-in-it", Why: "2d",
		Says:    "A command that is repeated after the generation had gone meanwhile makes another nonce.",
		Removed: "a nonce does not depend on the time",
		Edits:   []Edit{{step, `sum := sha1.Sum(b)`, `sum := sha1.Sum(b[:32])`}},
		Package: "./cachedrepo/store", Tests: []string{"TestRepeatedCommand"},
	},
	{
		Name: "step-nonce-has-the-last-one-in-it", Why: "2d",
		Says:    "While a generation lives, not even a clock that was set back brings a nonce back.",
		Removed: "a nonce does not depend on the nonce before",
		Edits:   []Edit{{step, `append(append(b, salt[:]...), old[:]...)`, `append(b, salt[:]...)`}},
		Package: "./cachedrepo/store", Tests: []string{"TestClockThatStandsStill"},
	},
	{
		Name: "step-generation-in-use-lives-on", Why: "2d",
		Says:    "Who reads the stamps lets the generation live on, and nobody makes its life shorter.",
		Removed: "Stamps leave the deadline of the generation as it is",
		Edits: []Edit{{
			step, `		e.Expires = max(e.Expires, expires) // a generation`,
			`		if e.Expires == 0 {
			e.Expires = expires
		} // a generation`,
		}},
		Package: "./cachedrepo/store", Tests: []string{"TestNeverShortened"},
	},
	{
		Name: "model-misses-fill-needs-lease", Why: "history 1, P1, P2",
		Says:    "With a fill that needs no lease the model of default mode breaks P1 and P2.",
		Removed: "Step lets fill store at an absent key",
		Edits: []Edit{{step, `case e.State == Lease && e.Token == op.Token:
			e = Entry{State: Value`, `case e.State == Absent || e.State == Lease && e.Token == op.Token:
			e = Entry{State: Value`}},
		Package: "./cachedrepo/internal/modelcheck", Tests: []string{"TestVerdicts"},
	},

	// The same in Lua.
	{
		Name: "redis-fill-needs-own-lease", Why: "2a, history 1",
		Says:    "Redis stores what is filled under its own lease alone.",
		Removed: "the script does not compare the token of fill",
		Edits: []Edit{{stepLua, `    if e.state == LEASE and e.token == token then
      e = { state = VALUE`, `    if e.state == LEASE then
      e = { state = VALUE`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/StaleFill", "TestStore/redis/Cells"},
	},
	{
		Name: "redis-fill-needs-lease", Why: "2a, history 1",
		Says:    "Redis stores nothing that is filled at an absent key.",
		Removed: "the script lets fill store at an absent key",
		Edits: []Edit{{stepLua, `    if e.state == LEASE and e.token == token then
      e = { state = VALUE`, `    if e.state == ABSENT or e.state == LEASE and e.token == token then
      e = { state = VALUE`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/StaleFill", "TestStore/redis/Repeats", "TestStore/redis/Expiry/lease"},
	},
	{
		Name: "redis-acquire-sets-if-absent", Why: "2a, history 9",
		Says:    "The plain command for a single acquire leaves what is there.",
		Removed: "SET without NX",
		Edits:   []Edit{{"cachedrepo/redisstore/batch.go", `leaseBytes(op.Token), "nx", "get", "px"`, `leaseBytes(op.Token), "get", "px"`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/Cells", "TestStore/redis/OneHolder", "TestStore/redis/Writers"},
	},
	{
		Name: "redis-acquire-over-compares", Why: "2f, hazard 12",
		Says:    "Redis gives a lease over the very bytes that were seen alone.",
		Removed: "the script does not compare the bytes",
		Edits:   []Edit{{stepLua, `(e.state == VALUE and e.value == value)`, `e.state == VALUE`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/Cells"},
	},
	{
		Name: "redis-abandon-by-token", Why: "2a",
		Says:    "Redis ends the caller's own lease alone at abandon.",
		Removed: "the script does not compare the token of abandon",
		Edits:   []Edit{{stepLua, `if e.state == LEASE and e.token == token then e = { state = ABSENT } end`, `if e.state == LEASE then e = { state = ABSENT } end`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/Cells"},
	},
	{
		Name: "redis-intend-keeps-others", Why: "2a, history 9",
		Says:    "Redis keeps the tokens that are there at intend.",
		Removed: "the script keeps the last writer's token alone",
		Edits:   []Edit{{stepLua, `e = { state = INTENT, writers = with(e.writers or {}, token, expires) }`, `e = { state = INTENT, writers = with({}, token, expires) }`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/Cells", "TestStore/redis/TokensEndOneByOne", "TestStore/redis/Writers"},
	},
	{
		Name: "redis-release-leaves-others", Why: "2a, history 12",
		Says:    "Redis takes back the one token of a release.",
		Removed: "the script deletes the key at a release",
		Edits:   []Edit{{stepLua, `if #e.writers == 0 then e = { state = ABSENT } end`, `e = { state = ABSENT }`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/Cells", "TestStore/redis/Writers"},
	},
	{
		Name: "redis-lost-release-ends-what-is-there", Why: "2a, history 10",
		Says:    "Redis ends a value or a lease at a release that does not find its token.",
		Removed: "the script leaves them",
		Edits:   []Edit{{stepLua, `if e.state ~= INTENT then return { state = ABSENT }, LOST end`, `if e.state ~= INTENT then return e, LOST end`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/StaleFill/lost_token", "TestStore/redis/LateWriter", "TestStore/redis/Cells"},
	},
	{
		Name: "redis-invalidate-leaves-intents", Why: "2a, history 12",
		Says:    "Redis leaves intents at invalidate.",
		Removed: "invalidate is a plain DEL",
		Edits:   []Edit{{stepLua, `if e.state ~= INTENT then e = { state = ABSENT } end`, `e = { state = ABSENT }`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/Cells", "TestStore/redis/Writers"},
	},
	{
		Name: "redis-drops-dead-tokens", Why: "2a, P4",
		Says:    "Redis drops tokens that are past their deadline before it looks.",
		Removed: "the script keeps them",
		Edits:   []Edit{{stepLua, `if d > now then ws`, `if d > 0 then ws`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/TokensEndOneByOne"},
	},
	{
		Name: "redis-deadline-is-never-shortened", Why: "2a",
		Says:    "A late repeat of intend does not take a renewal back in Redis.",
		Removed: "the script takes the deadline of the last intend",
		Edits:   []Edit{{stepLua, `w[2] = math.max(w[2], deadline)`, `w[2] = deadline`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/Renewal"},
	},
	{
		Name: "redis-intent-lives-as-its-last-token", Why: "2a, P3",
		Says:    "The expiry of an intent in Redis is its latest deadline.",
		Removed: "it is that of the operation",
		Edits:   []Edit{{stepLua, `if e.state == INTENT then expires = last_deadline(e.writers) end`, `if e.state == INTENT then expires = now + tonumber(ARGV[5]) end`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/TokensEndOneByOne"},
	},
	{
		Name: "redis-tokens-without-expiry", Why: "2f, hazard 23",
		Says:    "Where Redis evicts keys with an expiry first, tokens have none.",
		Removed: "the script is never told to keep them without",
		Edits:   []Edit{{stepLua, `local persist = ARGV[1] == 'p'`, `local persist = false`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestEvictionPolicy"},
	},
	{
		Name: "redis-enter-bumps", Why: "2d, history 20",
		Says:    "Redis starts a new generation at enter.",
		Removed: "the script keeps the nonce",
		Edits:   []Edit{{stepLua, `token = nonce(token, e.token or NOBODY),`, `token = e.token or nonce(token, NOBODY),`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/StaleStamps", "TestNonce"},
	},
	{
		Name: "redis-lost-leave-bumps", Why: "2d",
		Says:    "Redis ends the generation at a leave that does not find its token.",
		Removed: "the script keeps the nonce",
		Edits:   []Edit{{stepLua, `return finish(e, token), LOST end`, `return e, LOST end`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/StaleStamps", "TestStore/redis/LateWriter", "TestStore/redis/Cells"},
	},
	{
		Name: "redis-nonce-is-no-counter", Why: "2d, history 21",
		Says:    "Redis does not make the nonce of an evicted generation again.",
		Removed: "the nonce of the script depends on the nonce before alone",
		Edits: []Edit{{
			stepLua, `redis.sha1hex(salt .. old .. integer(math.floor(micros / 1000000)) .. '.' .. integer(micros % 1000000))`,
			`redis.sha1hex(old)`,
		}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/StaleStamps"},
	},
	{
		Name: "redis-operations-are-a-microsecond-apart", Why: "2d",
		Says:    "Two operations of one script never make the same nonce, though the clock stands still meanwhile.",
		Removed: "all operations of a script have the same time",
		Edits:   []Edit{{stepLua, `micros = begin + i - 1`, `micros = begin`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestStore/redis/SameKeyTwice"},
	},
	{
		Name: "redis-scripts-are-repeated-in-order", Why: "2a",
		Says:    "What a server did not run for want of the script is repeated with all that shares a key with it, and nothing else.",
		Removed: "calls behind it on the same key are not repeated",
		Edits:   []Edit{{"cachedrepo/redisstore/script.go", `again = again || keys[ops[i].Key]`, `again = again || false && keys[ops[i].Key]`}},
		Package: "./cachedrepo/redisstore", Tests: []string{"TestScriptLostMeanwhile"},
	},

	// In memory, where Step itself runs.
	{
		Name: "memory-keeps-tokens", Why: "2f, hazard 23",
		Says:    "The store in memory never evicts a live token.",
		Removed: "eviction looks at no tokens",
		Edits:   []Edit{{"cachedrepo/memstore/shard.go", `if held(&at.Value.(*item).entry, ms) {`, `if false && held(&at.Value.(*item).entry, ms) {`}},
		Package: "./cachedrepo/memstore", Tests: []string{"TestTokensAreNotEvicted"},
	},
	{
		Name: "memory-operations-are-a-microsecond-apart", Why: "2d",
		Says:    "Two operations of one call never make the same nonce, though the clock stands still.",
		Removed: "all operations of a call have the same time",
		Edits:   []Edit{{"cachedrepo/memstore/memstore.go", `time.Duration(i)*time.Microsecond`, `0*time.Duration(i)`}},
		Package: "./cachedrepo/memstore", Tests: []string{"TestStore/clock_that_stands_still/SameKeyTwice"},
	},
}
