package cachedrepo_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

// A record with every kind of memory that one holder could change for another.

// labels is a map that travels as JSON.
type labels map[string]string

func (l *labels) Scan(src any) error {
	*l = nil
	if src == nil {
		return nil
	}
	return json.Unmarshal([]byte(fmt.Sprintf("%s", src)), l)
}

func (l labels) Value() (driver.Value, error) {
	if l == nil {
		return nil, nil
	}
	b, err := json.Marshal(map[string]string(l))
	return string(b), err
}

type extra struct {
	Note  *string `db:"note"`
	Bytes []byte  `db:"bytes"`
}

type thing struct {
	ID     int64               `db:"id"`
	Name   string              `db:"name"`
	Count  *int64              `db:"count"`
	Raw    json.RawMessage     `db:"raw"`
	Tags   pq.StringArray      `db:"tags"`
	Nums   pq.Int64Array       `db:"nums"`
	Labels labels              `db:"labels"`
	More   *labels             `db:"more"`
	At     *time.Time          `db:"at"`
	Null   *sql.NullString     `db:"nullable"`
	Inner  sql.Null[[]byte]    `db:"inside"`
	Blobs  pq.ByteaArray       `db:"blobs"`
	Reals  *pq.Float64Array    `db:"reals"`
	UUID   *uuid.UUID          `db:"uuid"`
	Flags  pq.BoolArray        `db:"flags"`
	Doc    *json.RawMessage    `db:"doc"`
	Words  words               `db:"words"`
	Day    sql.Null[time.Time] `db:"day"`
	extra
}

const thingsSchema = `CREATE TABLE things (
	id bigint PRIMARY KEY, name text UNIQUE NOT NULL, count bigint, raw jsonb, tags text[], nums bigint[], labels jsonb, more jsonb,
	at timestamptz, nullable text, inside bytea, blobs bytea[], reals float8[], uuid uuid, flags boolean[], doc jsonb, words text[],
	day date, note text, bytes bytea)`

var (
	byName = model.NewUnique[thing, string]("name")
	things = model.MustTable(model.Spec[thing, int64]{Name: "things", Key: "id", Indexes: model.Indexes[thing]{byName}})
)

func newThing(id int64) thing {
	at := time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)
	return thing{
		ID: id, Name: fmt.Sprint("thing", id), Count: new(int64(1)), Raw: json.RawMessage(`{"a": 1}`),
		Tags: pq.StringArray{"a", "b"}, Nums: pq.Int64Array{1, 2}, Labels: labels{"a": "b"}, More: &labels{"c": "d"},
		At: &at, Null: &sql.NullString{String: "x", Valid: true}, Inner: sql.Null[[]byte]{V: []byte("inside"), Valid: true},
		Blobs: pq.ByteaArray{[]byte("blob"), []byte("b")}, Reals: &pq.Float64Array{1, 2}, UUID: &uuid.UUID{1},
		Flags: pq.BoolArray{true, false}, Doc: new(json.RawMessage(`[1, 2]`)), Words: words{new("w"), nil},
		Day: sql.Null[time.Time]{V: at, Valid: true}, extra: extra{Note: new("note"), Bytes: []byte("bytes")},
	}
}

// ruin changes all memory that a record refers to, as careless handlers might: each element, and what is appended where
// there seems to be room.
func ruin(p *thing) { ruinValue(reflect.ValueOf(p).Elem()) }

func ruinValue(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			ruinValue(v.Elem())
		}
	case reflect.Slice:
		if v.Len() > 0 {
			for i := range v.Len() {
				ruinValue(v.Index(i))
			}
			reflect.Append(v.Slice(0, v.Len()-1), v.Index(0))
		}
		if whole := v.Slice(0, v.Cap()); v.Cap() > v.Len() {
			ruinValue(whole.Index(v.Len()))
		}
	case reflect.Array:
		for i := range v.Len() {
			ruinValue(v.Index(i))
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			v.SetMapIndex(k, reflect.ValueOf("spoilt"))
		}
		v.SetMapIndex(reflect.ValueOf("more"), reflect.ValueOf("spoilt"))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() || v.Type().Field(i).Anonymous {
				ruinValue(v.Field(i))
			}
		}
	case reflect.String:
		v.SetString("spoilt")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Float64:
		v.SetFloat(v.Float() + 99)
	case reflect.Int64:
		v.SetInt(v.Int() + 99)
	case reflect.Uint8:
		v.SetUint(v.Uint() ^ 0xff)
	default:
		panic("no idea how to ruin a " + v.Type().String())
	}
}

// TestRuinReachesAll: no field is empty, and all are others afterwards.
func TestRuinReachesAll(t *testing.T) {
	p, fresh := newThing(1), newThing(1)
	ruin(&p)
	v, w := reflect.ValueOf(p), reflect.ValueOf(fresh)
	for _, f := range reflect.VisibleFields(v.Type()) {
		if f.Anonymous {
			continue // its fields are listed too
		}
		if w.FieldByIndex(f.Index).IsZero() {
			t.Errorf("%s is empty", f.Name)
		}
		if reflect.DeepEqual(v.FieldByIndex(f.Index).Interface(), w.FieldByIndex(f.Index).Interface()) {
			t.Errorf("%s is not spoilt", f.Name)
		}
	}
}

// What one caller does to its record no other sees: not those who waited for the same load, not those who hit, not those
// who asked for several.
func TestRecordsShareNoMemory(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s := newShop(t)
		s.conn.MustExec(thingsSchema)
		c, err := cachedrepo.New(s.db, st, cachedrepo.Config{Namespace: ns, Tables: model.Tables{things}, Timeout: patience, Logger: silent()})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close(context.Background()) }()
		plain := &heldThings{Repository: repo.New(s.db, things)}
		cached := cachedrepo.Wrap(c, plain)
		view := c.View("V")
		ctx := t.Context()
		names := []string{"Find", "FindBy", "FindMany", "FindPtr"}
		for id := range int64(len(names) + 1) {
			if _, err := plain.Insert(ctx, newThing(id+1)); err != nil {
				t.Fatal(err)
			}
		}
		ways := map[string]func(id int64) ([]thing, error){
			"Find": func(id int64) ([]thing, error) {
				p, err := cached.Find(ctx, id)
				return []thing{p}, err
			},
			"FindBy": func(id int64) ([]thing, error) {
				p, err := cached.FindBy(ctx, byName.Eq(fmt.Sprint("thing", id)))
				return []thing{p}, err
			},
			"FindMany": func(id int64) ([]thing, error) { return cached.FindMany(ctx, []int64{id, id, id}) },
			"FindPtr": func(id int64) ([]thing, error) {
				p, err := cachedrepo.FindPtr(ctx, view, things.Row(id), func(ctx context.Context) (*thing, error) {
					p, err := plain.Find(ctx, id)
					return &p, err
				})
				if err != nil {
					return nil, err
				}
				return []thing{*p}, nil
			},
		}
		use := func(how string, id int64) {
			got, err := ways[how](id)
			if err != nil || len(got) == 0 {
				t.Errorf("%s: %d rows, %v", how, len(got), err)
				return
			}
			for i := range got {
				if want := newThing(id); !reflect.DeepEqual(got[i], want) {
					t.Errorf("%s: record %d was changed by another's holder: %+v", how, i, got[i])
				}
				ruin(&got[i])
			}
		}
		// One after the other: the one who loads, then those who hit.
		for range 3 {
			for _, how := range names {
				use(how, int64(len(names)+1))
			}
		}
		if st := c.Stats(); st.Hits < 10 || st.Inexact != 0 {
			t.Errorf("%+v", st)
		}
		// Together: one loads, and all the others wait for that load.
		for i, leader := range names {
			id := int64(i + 1)
			if err := c.Invalidate(ctx, things.Row(id)); err != nil {
				t.Fatal(err)
			}
			hold := plain.hold()
			shared := c.Stats().Shared
			var group sync.WaitGroup
			group.Go(func() { use(leader, id) })
			receive(t, hold.reached, "the load")
			waiting := 0
			for _, how := range names {
				if (how == "FindBy") != (leader == "FindBy") {
					continue // another key
				}
				waiting += 2
				group.Go(func() { use(how, id) })
				group.Go(func() { use(how, id) })
			}
			until(t, "all to wait for the load", func() bool { return cachedrepo.Waiting(c) == 1+waiting })
			plain.letGo(hold)
			group.Wait()
			if n := c.Stats().Shared - shared; n != uint64(waiting) {
				t.Errorf("%s: %d of %d shared its load", leader, n, waiting)
			}
			use(leader, id)
		}
		// Past the store, too.
		direct := c.With(cachedrepo.Options{Off: true})
		for range 2 {
			p, err := cachedrepo.Wrap(direct, plain).Find(ctx, 1)
			if err != nil || !reflect.DeepEqual(p, newThing(1)) {
				t.Errorf("%+v, %v", p, err)
			}
			ruin(&p)
		}
	})
}

// Nor while the store is away, when loads are shared and nothing is stored.
func TestRecordsShareNoMemoryWithoutStore(t *testing.T) {
	s := newShop(t)
	s.conn.MustExec(thingsSchema)
	counted := &countedStore{}
	counted.fail(down)
	c, err := cachedrepo.New(s.db, counted, cachedrepo.Config{Namespace: "shop", Tables: model.Tables{things}, Logger: silent()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // it would try until then
		_ = c.Close(ctx)
	}()
	plain := &heldThings{Repository: repo.New(s.db, things)}
	cached := cachedrepo.Wrap(c, plain)
	if _, err := plain.Insert(t.Context(), newThing(1)); err != nil {
		t.Fatal(err)
	}
	use := func() {
		got, err := cached.Find(t.Context(), 1)
		if err != nil || !reflect.DeepEqual(got, newThing(1)) {
			t.Errorf("%+v, %v", got, err)
			return
		}
		ruin(&got)
	}
	for c.Stats().Opened == 0 {
		use()
	}
	hold := plain.hold()
	loads := c.Stats().Loads
	var group sync.WaitGroup
	group.Go(use)
	receive(t, hold.reached, "the load")
	for range 8 {
		group.Go(use)
	}
	until(t, "the others to wait", func() bool { return cachedrepo.Queued(c, "shop:things:id:1") == 8 })
	plain.letGo(hold)
	group.Wait()
	if n := c.Stats().Loads - loads; n != 2 {
		t.Errorf("%d loads for 9 reads", n)
	}
}

// heldThings is a repository whose next read can be held.
type heldThings struct {
	repo.Repository[thing, int64]
	mu   sync.Mutex
	next *held
}

type held struct{ reached, letGo chan struct{} }

func (r *heldThings) hold() *held {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next = &held{make(chan struct{}), make(chan struct{})}
	return r.next
}

func (r *heldThings) letGo(h *held) { close(h.letGo) }

func (r *heldThings) reach() {
	r.mu.Lock()
	h := r.next
	r.next = nil
	r.mu.Unlock()
	if h != nil {
		close(h.reached)
		<-h.letGo
	}
}

func (r *heldThings) Table() *model.Table[thing, int64] { return things }

func (r *heldThings) Find(ctx context.Context, key int64) (thing, error) {
	r.reach()
	return r.Repository.Find(ctx, key)
}

func (r *heldThings) FindBy(ctx context.Context, at model.One[thing]) (thing, error) {
	r.reach()
	return r.Repository.FindBy(ctx, at)
}

func (r *heldThings) FindMany(ctx context.Context, keys []int64) ([]thing, error) {
	r.reach()
	return r.Repository.FindMany(ctx, keys)
}
