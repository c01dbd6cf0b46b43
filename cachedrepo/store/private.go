package store

// Private is a store that other processes do not share: what they write they invalidate elsewhere. Private names the
// memory, with a name that no other ever has.
type Private interface {
	Private() string
}
