package cachedrepo

import (
	"math"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Two versions of a program whose records differ cannot use each other's entries. If each took over what the other has
// stored, they would turn every read of a row that both read into a load and a fill, for as long as both run. So the
// versions are ordered, by Config.Build, and what counts in an entry of the other version is which of the two is newer:
//
//   - the newer takes the older's entry over: its kind is about to be the only one;
//   - the older leaves it alone, reads the database and stores nothing.
//
// After a rollback the newer is gone and its entries are still there, for up to a TTL. Nobody tells the older that it is
// alone now, so it tries: every probeOlder-th time it takes an entry over after all. A row that is read often is cached
// again after a few reads, and while both run the fight costs a probeOlder-th of what it would.
//
// Versions of the same Build, as all are where nobody sets it, take each other's entries over. None of this is about
// right or wrong: whoever takes over does it in one step, and nobody uses what is not of his own version.
const probeOlder = 16

// older says which reads of a newer version's entry take it over.
type older struct{ n atomic.Uint64 }

func (o *older) yields() bool { return o.n.Add(1)%probeOlder != 0 }

// stampedBuild is when the commit was made that the program was built from, if the Go tool has noted it.
var stampedBuild = sync.OnceValue(func() uint32 {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return 0
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			if at, err := time.Parse(time.RFC3339, s.Value); err == nil && at.Unix() > 0 && at.Unix() <= math.MaxUint32 {
				return uint32(at.Unix())
			}
		}
	}
	return 0
})
