package soak

import (
	"strconv"
	"sync"

	"github.com/asidego/aside/model"
)

// schema is the table that is read and written, and the table in which every transaction notes what it did: reg is
// a register, val what it holds from then on.
const schema = `
CREATE TABLE items (
	id bigint PRIMARY KEY,
	sku text UNIQUE NOT NULL,
	val bigint NOT NULL,
	version integer NOT NULL DEFAULT 1
);
CREATE TABLE notes (
	seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	op bigint NOT NULL,
	reg text NOT NULL,
	val bigint NOT NULL
);`

// item is a row. Val is the operation that wrote it last, a number that is never used again.
type item struct {
	ID      int64  `db:"id"`
	SKU     string `db:"sku"`
	Val     int64  `db:"val"`
	Version int    `db:"version,default"`
}

// declared is the table as the library knows it, and its index.
type declared struct {
	*model.Table[item, int64]
	bySKU *model.Unique[item, string]
}

func declare(strict bool) func() declared {
	return sync.OnceValue(func() declared {
		bySKU := model.NewUnique[item, string]("sku")
		return declared{model.MustTable(model.Spec[item, int64]{
			Name: "items", Key: "id", Version: "version", Indexes: model.Indexes[item]{bySKU}, Strict: strict,
		}), bySKU}
	})
}

// The table without and with intents before COMMIT.
var (
	looseItems  = declare(false)
	strictItems = declare(true)
)

func (m Mode) items() declared {
	if m.Strict {
		return strictItems()
	}
	return looseItems()
}

// A register is what is checked on its own: the row with an id, or the row with a sku. It holds the Val of that row, 0 if
// there is none. Moving a sku from a row to another writes four registers.
func regID(id int64) string    { return "id " + strconv.FormatInt(id, 10) }
func regSKU(sku string) string { return "sku " + sku }

func skuOf(n int64) string { return "s" + strconv.FormatInt(n, 10) }

// registers are all there are with this many rows.
func registers(rows int64) (regs []string) {
	for n := int64(1); n <= rows; n++ {
		regs = append(regs, regID(n), regSKU(skuOf(n)))
	}
	return regs
}
