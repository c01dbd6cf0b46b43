package cachedrepo_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

// "Not found" is an answer, in the words of the repository: the first time, and again.
func TestNotFound(t *testing.T) {
	own := errors.New("no such user")
	modelError := model.NotFound(users.Row(99).Place())
	p := newPeople(t, memstore.New(memstore.Config{}), "shop")
	for i, tt := range []struct {
		name   string
		option error
		load   error
		stored bool
	}{
		{"own", own, own, true},
		{"sql.ErrNoRows", nil, sql.ErrNoRows, true},
		{"sql.ErrNoRows as own", sql.ErrNoRows, sql.ErrNoRows, true},
		{"model.ErrNotFound", nil, model.ErrNotFound, true},
		{"of the generic repository", nil, modelError, true},
		{"own, wrapped", own, fmt.Errorf("user 99: %w", own), false},
		{"sql.ErrNoRows, wrapped", nil, fmt.Errorf("user 99: %w", sql.ErrNoRows), false},
		{"model.ErrNotFound, wrapped", nil, fmt.Errorf("user 99: %w", model.ErrNotFound), false},
		{"own, not declared", nil, own, false},
		{"joined", own, errors.Join(own, errors.New("and more")), false},
		{"another's cause", nil, &model.Error{Kind: model.ErrNotFound, Err: errors.New("cause")}, false},
		// A repository that says it in two ways says it in the same way each time.
		{"sql.ErrNoRows beside own", own, sql.ErrNoRows, false},
		{"model.ErrNotFound beside own", own, model.ErrNotFound, false},
		{"no error of absence", own, errors.New("boom"), false},
		{"the end of a context that is not the caller's", own, context.Canceled, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, before := int64(99+i), p.c.Stats()
			view := p.c.With(cachedrepo.Options{NotFound: tt.option}).View("V")
			find := func() (user, error) {
				return cachedrepo.Find(t.Context(), view, users.Row(id), func(context.Context) (user, error) { return user{ID: 5}, tt.load })
			}
			for turn := range 3 {
				u, err := find()
				same := err == tt.load                                                     //nolint:errorlint // that very value
				if errors.As(tt.load, new(*model.Error)) || tt.load == model.ErrNotFound { //nolint:errorlint // the value itself
					// The generic repository makes an error for each call.
					same = err != nil && errors.Is(err, model.ErrNotFound) && (turn > 0 || err.Error() == tt.load.Error())
				}
				if !same || u != (user{}) {
					t.Errorf("turn %d: %+v, %v, want %v", turn, u, err, tt.load)
				}
			}
			st := p.c.Stats()
			if hits, loads := st.Hits-before.Hits, st.Loads-before.Loads; tt.stored && (hits != 2 || loads != 1) || !tt.stored && (hits != 0 || loads != 3) {
				t.Errorf("%d hits, %d loads", hits, loads)
			}
			// It ends with the insert.
			if !tt.stored {
				return
			}
			if _, err := repo.New(p.db, users).Insert(t.Context(), user{ID: id, Email: tt.name, Name: "ann"}); err != nil {
				t.Fatal(err)
			}
			u, err := cachedrepo.Find(t.Context(), view, users.Row(id), func(ctx context.Context) (user, error) { return repo.New(p.db, users).Find(ctx, id) })
			if err != nil || u.Name != "ann" {
				t.Errorf("after the insert: %+v, %v", u, err)
			}
		})
	}
}

// Each reader hears of an absence that another has stored in its own words.
func TestNotFoundOfAnotherView(t *testing.T) {
	peopleOn(t, func(t *testing.T, p *people) {
		ctx := t.Context()
		wrapped := cachedrepo.Wrap(p.c, repo.New(p.db, users))
		if _, err := wrapped.Find(ctx, 99); !errors.Is(err, model.ErrNotFound) {
			t.Fatal(err)
		}
		if _, err := p.hit(t, "own", func() (*user, error) { return p.cached.FindByID(ctx, 99) }); err != errUserNotFound { //nolint:errorlint // that very value
			t.Errorf("own: %v", err)
		}
		if _, err := p.cached.FindByID(ctx, 98); err != errUserNotFound { //nolint:errorlint // that very value
			t.Fatal(err)
		}
		var e *model.Error
		_, err := p.hit(t, "generic", func() (*user, error) {
			u, err := wrapped.Find(ctx, 98)
			return &u, err
		})
		if !errors.As(err, &e) || e.Table != "users" || e.Value != "98" || !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("generic: %v", err)
		}
		got, err := wrapped.FindMany(ctx, []int64{98, 99, 97})
		if err != nil || len(got) != 0 {
			t.Errorf("FindMany: %+v, %v", got, err)
		}
		if _, err := p.hit(t, "after FindMany", func() (*user, error) { return p.cached.FindByID(ctx, 97) }); err != errUserNotFound { //nolint:errorlint // that very value
			t.Errorf("after FindMany: %v", err)
		}
	})
}

// Repositories that say nil, nil go on saying it; it is not stored, and no error of the database.
func TestNotFoundAsNil(t *testing.T) {
	p := newPeople(t, memstore.New(memstore.Config{}), "shop")
	find := func(ctx context.Context) (*user, error) {
		return cachedrepo.FindPtr(ctx, p.c.View("V"), users.Row(99), func(context.Context) (*user, error) { return nil, nil })
	}
	for range 3 {
		if u, err := find(t.Context()); u != nil || err != nil {
			t.Errorf("%+v, %v", u, err)
		}
	}
	if u, err := find(cachedrepo.Bypass(t.Context())); u != nil || err != nil {
		t.Errorf("past the cache: %+v, %v", u, err)
	}
	if st := p.c.Stats(); st.Hits != 0 || st.Fills != 0 || st.LoadErrors != 0 {
		t.Errorf("%+v", st)
	}
	boom := errors.New("boom")
	u, err := cachedrepo.FindPtr(t.Context(), p.c.View("V"), users.Row(99), func(context.Context) (*user, error) { return &user{}, boom })
	if u != nil || !errors.Is(err, boom) {
		t.Errorf("with an error: %+v, %v", u, err)
	}
	if st := p.c.Stats(); st.LoadErrors != 1 {
		t.Errorf("%d errors of loads", st.LoadErrors)
	}
}

// Absence has a life of its own, or none.
func TestNotFoundNegative(t *testing.T) {
	now := time.Now()
	st := memstore.New(memstore.Config{Clock: func() time.Time { return now }})
	p := newPeople(t, st, "shop")
	ann := p.create(t, "ann")
	find := func(c *cachedrepo.Cache, id int64) error {
		_, err := cacheUserRepository(c, p.after).FindByID(t.Context(), id)
		return err
	}
	never := p.c.With(cachedrepo.Options{Negative: -1})
	for range 2 {
		if err := find(never, 99); err != errUserNotFound { //nolint:errorlint // that very value
			t.Fatal(err)
		}
	}
	if st := p.c.Stats(); st.Fills != 0 || st.Loads != 2 {
		t.Errorf("%+v", st)
	}
	short := p.c.With(cachedrepo.Options{Negative: time.Second})
	for range 2 {
		_, _ = find(short, 99), find(short, ann.ID)
	}
	if st := p.c.Stats(); st.Hits != 2 {
		t.Errorf("%+v", st)
	}
	now = now.Add(1101 * time.Millisecond) // at most a tenth longer
	_, _ = find(short, 99), find(short, ann.ID)
	if st := p.c.Stats(); st.Hits != 3 || st.Loads != 5 {
		t.Errorf("%+v", st)
	}
}

// A NotFound that == cannot compare would panic in every read instead of once, at the start.
func TestNotFoundIncomparable(t *testing.T) {
	p := newPeople(t, memstore.New(memstore.Config{}), "shop")
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	p.c.With(cachedrepo.Options{NotFound: listError{"a"}})
}

type listError []string

func (e listError) Error() string { return e[0] }
