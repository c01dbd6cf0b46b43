// Package modelcheck searches every interleaving of a few readers and a few transactions on one key, with faults, for a
// state that breaks a promise. What it runs is not a description of the library: operations are store.Step, decisions are
// package protocol, as in the runtime. Around them stand a tiny database, processes with their flights, a relay, and
// whatever can go wrong.
//
//	v := modelcheck.Search(modelcheck.Config{Readers: 2, Writers: 2, Strict: true, Faults: modelcheck.Faults{WriterCrash: true}})
//	v.Broken(modelcheck.P3) // false; else v.History(modelcheck.P3) is the shortest way there
//
// The abstractions, and what they leave out, are in docs/protocol.md, "The model check".
package modelcheck

import (
	"slices"
	"time"

	"github.com/asidego/aside/cachedrepo/internal/protocol"
	"github.com/asidego/aside/cachedrepo/store"
)

// Config is one run of the search. The zero value of each field is what the library does, without faults.
type Config struct {
	Readers, Writers int // 1 to 3 each: reads that load, and transactions; one more reader looks on all the time
	Attempts         int // how often a read may look again; zero means once

	Query  bool // a query's entry, stamped with a generation, instead of a row's
	Stamp  bool // a row's entry that carries the generation of its table, too; the second writer changes the whole table
	Strict bool // intents (or tokens in the generation) before COMMIT
	Mixed  bool // Strict, but the second writer's transaction is in default mode

	Together bool // all readers are of one process, and share loads; else each is of its own
	Versions bool // the first reader is of an older version of the program than the others

	Outbox   bool
	Replicas int // of the database, 0 to 2; readers ask them where they may
	Marks    bool
	Epoch    bool // a failover of the store is known to every client at once, and values carry the epoch
	Wait     bool // writers wait until the store's replica has their operation

	Faults Faults
	Rules  Rules

	// Step stands for store.Step; nil is store.Step itself.
	Step func(store.Entry, store.Op, time.Time) (store.Entry, store.Reply)
	// Until ends a search that takes longer; the zero time means none.
	Until time.Time
}

// Faults are what may go wrong. Numbers say how often in one history.
type Faults struct {
	ReaderCrash bool // a reader's process dies
	LeaseExpiry bool // a lease ends while its load runs
	WriterCrash bool // a writer dies at any step, also while its COMMIT is on its way
	RelayCrash  bool // the relay dies once between its work and its note that it is done
	Rollback    bool // a transaction may be rolled back by its caller
	InDoubt     bool // the answer to COMMIT is lost; the server commits later, or not at all
	TokenExpiry bool // a writer's token ends before its transaction does
	Timeout     bool // the database ends a transaction on its own
	StuckCommit bool // a COMMIT whose client is gone outlives its tokens
	Away        bool // the store cannot be reached before COMMIT, and the transaction goes on without tokens
	Evictions   int  // of the key, the entry or the generation; never of marks
	Unreachable bool // the steps after the outcome fail, and success is returned all the same
	Failovers   int  // an asynchronous replica of the store takes over
	Repeats     int  // an operation's reply is lost and the client sends it again
	Late        int  // an operation's caller gives up, and it arrives later
}

// Rules are switches that take a rule of the protocol away, to see what it is there for.
type Rules struct {
	Naive             bool // W0: fills are plain SETs, and nobody asks for a lease
	DeleteFirst       bool // with Naive, W1: the writer deletes before COMMIT, not after
	DeleteTwice       bool // with Naive, W2: before and after
	JoinAny           bool // S0: a read joins whatever load of its process is running
	OldSnapshot       bool // the load's snapshot is as old as the read
	EpochAtFill       bool // the epoch is taken when the value is stored
	MarkAfter         bool // the mark is armed after the value's end
	MarkBeforeLease   bool // the reader looks for the mark before it has the lease
	ReleaseInDoubt    bool // the outcome is unknown, and tokens are released
	NeverAgain        bool // the outcome is unknown, and keys are invalidated at once only
	BlindRelay        bool // the relay deletes the key, whatever is there
	BumpBeforeOnly    bool // G2: the generation is bumped before COMMIT, and not after
	OlderTakesOver    bool // a reader takes a newer version's value over, too
	JoinOldStamp      bool // with Stamp, S1 compares the lease, but not the generation
	UnconditionalJoin bool // S1 without comparing: any lease found means the load that is running here
}

// Places in the store.
const (
	key = iota
	mark
	generation
	places
)

// entry is a query's: a plain value beside the protocol's keys, which only its stamp makes valid.
type entry struct {
	set   bool
	v     int8
	epoch int8
	stamp store.Token
}

// server is what the store holds.
type server struct {
	at    [places]*store.Entry // never changed, never nil
	query entry
}

var nothing = new(store.Entry)

type readerAt uint8

// Where a read is.
const (
	notStarted  readerAt = iota
	willAcquire          // Acquire or AcquireOver is next
	willLookup           // of a query: the entry is next
	willMark             // looks for the mark before its query
	willQuery            // the database is next
	willFill             // has returned; its flight has a value to store
	joined               // waits for another's flight
	ended
	crashed
)

type reader struct {
	at      readerAt
	move    protocol.Move // of willAcquire
	lease   bool          // the load fills
	primary bool          // the load must not ask a replica
	tries   int8
	got     int8 // what the flight has read
	snap    int8 // Rules.OldSnapshot
	epoch   int8 // taken before the lease was asked for
	after   int8 // P1: the latest commit whose write had returned when the read began
	latest  int8 // P3: the latest commit when the read began; somebody may have read it beside the cache
	on      int8 // joined: whose flight
	held    bool // of willLookup: the generation has tokens
	stamp   store.Token
	seen    []byte // the value to take over
}

type writerAt uint8

// Where a transaction is.
const (
	notBegun writerAt = iota
	before            // steps before COMMIT
	atCommit
	after // steps after the outcome
	returned
	dead
)

type txState uint8

// What the database knows of a transaction.
const (
	noTx txState = iota
	open
	inFlight // COMMIT has been sent, and its client is gone
	committed
	aborted
)

type rowState uint8

// The outbox row.
const (
	noRow rowState = iota
	pending
	acknowledged
)

type writer struct {
	at      writerAt
	step    int8
	tx      txState
	pos     int8 // in the order of commits
	outcome int8 // as the writer knows it: a txhooks.Outcome
	again   bool // the keys must be invalidated once more, later
	late    bool // a step has not arrived: "pending" is returned, not success
	waits   bool // for the store's replica
	row     rowState
	relay   int8 // the relay's step
}

// lateOp is an operation that its caller has given up.
type lateOp struct {
	at int
	op store.Op
}

const most = 3

// state is one point of a history. It is copied for each successor; what it points to is never changed.
type state struct {
	server
	frozen *server // what the store's replica has, if that is less
	epoch  int8

	log      int8 // how many transactions have committed: the value of everything that depends on them
	applied  [2]int8
	returned int8 // the latest commit whose write has returned success

	readers [most]reader
	writers [most]writer
	late    *lateOp

	evictions, failovers, repeats, lates, relayRepeats int8

	// Not part of what is compared: ops makes the clock of each operation its own, past are the nonces that were.
	ops  int16
	past *[8]store.Token
}

type model struct {
	Config
	exact bool // nonces may come back: none is worthless
	cur   *state
	next  []state

	trace  bool
	events []event
	broken func(p Property, text string)
}

// event is one line of a history.
type event struct {
	who  string
	n    int
	what string
}

func (m *model) emit(s *state, who string, n int, what string) {
	m.next = append(m.next, *s)
	if m.trace {
		m.events = append(m.events, event{who, n + 1, what})
	}
}

// start is one moment for all deadlines: what ends, ends by an action of its own, at any time that the faults allow. Only
// microseconds pass, one for each operation, as Step asks for.
var start = time.UnixMilli(1_700_000_000_000)

const lives = time.Hour

func (m *model) do(s *state, at int, op store.Op) store.Reply {
	op.TTL = lives
	s.ops++
	was := s.at[at]
	e, r := m.Step(*was, op, start.Add(time.Duration(s.ops)*time.Microsecond))
	if e.Equal(*was) {
		return r
	}
	s.at[at] = &e
	if at == generation && e.Token != was.Token && !m.exact {
		m.former(s, was.Token, e.Token)
	}
	return r
}

// former notes the nonce that a generation had. None comes back, as the clock goes on.
func (m *model) former(s *state, was, is store.Token) {
	var past [8]store.Token
	if s.past != nil {
		past = *s.past
	}
	if is != (store.Token{}) && slices.Contains(past[:], is) {
		m.broken(P1, "a generation has got a nonce that it had before: what was loaded then is a hit again")
	}
	copy(past[1:], past[:])
	past[0] = was
	s.past = &past
}

func readerToken(i int, tries int8) store.Token { return store.Token{1, byte(i), byte(tries)} }
func writerToken(i int) store.Token             { return store.Token{2, byte(i)} }

// A value in the store is three bytes: what was read, the epoch, the version of the program.
const epochs, versions = 4, 2

var values = func() (all [8 * epochs * versions][]byte) {
	for i := range all {
		all[i] = []byte{byte(i / (epochs * versions)), byte(i / versions % epochs), byte(i % versions)}
	}
	return all
}()

func valueIndex(v, epoch, version int8) int8 { return (v*epochs+epoch)*versions + version }

func indexOf(b []byte) int8 { return valueIndex(int8(b[0]), int8(b[1]), int8(b[2])) }

// value is what reader i stores: with Stamp, the generation follows.
func (m *model) value(i int, v, epoch int8, stamp store.Token) []byte {
	b := values[valueIndex(v, epoch, m.version(i))]
	if m.Stamp {
		b = append(b[:len(b):len(b)], stamp[:]...)
	}
	return b
}

// stampOf is the generation in a value.
func stampOf(b []byte) (t store.Token) {
	if len(b) > 3 {
		copy(t[:], b[3:])
	}
	return t
}

func (m *model) version(i int) int8 {
	if m.Versions && i > 0 {
		return 1
	}
	return 0
}

// verdict is what reader i makes of a value.
func (m *model) verdict(s *state, i int, b []byte) protocol.Verdict {
	switch {
	case len(b) == 0 || int8(b[1]) != s.epoch || stampOf(b) != s.readers[i].stamp:
		return protocol.Unusable
	case int8(b[2]) == m.version(i):
		return protocol.Usable
	case int8(b[2]) > m.version(i) && !m.Rules.OlderTakesOver:
		return protocol.Newer
	}
	return protocol.Unusable
}

func (m *model) mode(i int) protocol.Mode {
	return protocol.Mode{Strict: m.Strict && !(m.Mixed && i == 1), Marks: m.Marks}
}
