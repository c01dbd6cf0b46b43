package soak

// event is a line that a child says. Which fields are set depends on Kind.
type event struct {
	Kind   string `json:"k"`
	Worker int    `json:"w,omitempty"`
	Call   int64  `json:"c,omitempty"`
	Return int64  `json:"r,omitempty"`

	Regs []string `json:"g,omitempty"` // of a read, in the order of Vals
	Vals []int64  `json:"v,omitempty"`
	How  string   `json:"h,omitempty"` // of a read: the method; of a write: what it does

	Op      int64  `json:"o,omitempty"` // of a write
	Outcome string `json:"e,omitempty"`
	Pending int    `json:"p,omitempty"` // invalidations that wait for the store, as the write's report has it

	Err   string           `json:"x,omitempty"`
	Stats map[string]int64 `json:"s,omitempty"`
}

// Kinds of events. A write says begin before anything else, so that one that is cut short is known of; a read that is cut
// short has told nobody anything.
const (
	evReady  = "ready"
	evRead   = "read"
	evFailed = "failed" // a read
	evBegin  = "begin"
	evEnd    = "end"
	evPaused = "paused" // all workers stand still; Stats
	evStruck = "struck"
	evError  = "error" // the child cannot go on
)

// Outcomes of a write, as its caller was told.
const (
	committed  = "committed"
	rolledBack = "rolled back"
	inDoubt    = "in doubt"
	unknown    = "unknown" // nobody was told: the process died
)

// command is a line that a child is told.
type command struct {
	Verb string `json:"v"` // go, pause, strike, quit
	Arg  string `json:"a,omitempty"`
}

// setting is what a child is started with, in its environment.
type setting struct {
	Mode     Mode
	Name     string // of the child
	Spawn    int64  // how many children were started before, in the whole run: part of the operations' numbers
	Seed     uint64
	Database string // URL
	Driver   string
	Redis    string // host:port
	Space    string // namespace
	Rows     int64
	Readers  int
	Writers  int
	Relay    bool   // it takes part in the outbox of a mode that has one
	Broken   string // what is wrong on purpose, for tests of this package
}
