package cachedrepo

import (
	"testing"
	"time"

	"github.com/asidego/aside/model"
)

func registrantOf(process string, serial int64, gone bool, declares ...string) registrant {
	o := registrant{process: process, serial: serial, label: process, gone: gone, declares: map[string]bool{}, stopsAfter: time.Second}
	for _, d := range declares {
		o.declares[d] = true
	}
	return o
}

func TestStandingIsAFunctionOfTheRows(t *testing.T) {
	n := registrantOf("n", 2, false, "id", "email")
	o := registrantOf("o", 3, false, "id")
	if s := standingOf([]registrant{n}, "email"); s.maintain || s.epoch != 0 {
		t.Errorf("nobody lacks it: %+v", s)
	}
	lacked := standingOf([]registrant{n, o}, "email")
	if !lacked.maintain || lacked.lacks != "o" || lacked.epoch&1 != 1 {
		t.Errorf("o lacks it: %+v", lacked)
	}
	if s := standingOf([]registrant{n, o}, "id"); s.maintain || s.epoch != 0 {
		t.Errorf("all have the key: %+v", s)
	}
	o.gone = true
	after := standingOf([]registrant{o, n}, "email")
	if after.maintain || after.epoch == 0 || after.epoch&1 != 0 || after.epoch == lacked.epoch {
		t.Errorf("o has gone: %+v, was %+v", after, lacked)
	}
	// An earlier one that lacked it changes nothing, the same process with a new serial does, so does another with the same.
	if s := standingOf([]registrant{n, o, registrantOf("p", 1, true, "id")}, "email"); s != after {
		t.Errorf("an earlier one: %+v", s)
	}
	for _, other := range []registrant{registrantOf("o", 4, true, "id"), registrantOf("p", 3, true, "id")} {
		if s := standingOf([]registrant{n, other}, "email"); s.epoch == after.epoch || s.epoch == 0 || s.maintain {
			t.Errorf("%+v: %+v", other, s)
		}
	}
	// What is waited for are those who live and serve what is lacked.
	for _, w := range []struct {
		all  []registrant
		want time.Duration
	}{
		{[]registrant{o}, 0},
		{[]registrant{o, n}, time.Second},
		{[]registrant{o, registrantOf("n", 2, true, "id", "email")}, 0},
		{[]registrant{o, registrantOf("p", 4, false, "id")}, 0},
	} {
		if d := noticedWithin(w.all, "o", []string{"id"}); d != w.want {
			t.Errorf("%+v: %s", w.all, d)
		}
	}
}

func TestSpellingTellsKeysApart(t *testing.T) {
	type record struct {
		ID    int32  `db:"id"`
		Email string `db:"email"`
		Team  *int64 `db:"team"`
	}
	type wide struct {
		ID    int64  `db:"id"`
		Email []byte `db:"email"`
		Team  int    `db:"team"`
	}
	spell := func(rel *model.Relation) (all []string) {
		for _, a := range rel.Accesses() {
			all = append(all, (&access{Access: a, table: &table{rel: rel}}).spelling())
		}
		return all
	}
	narrow := spell(model.MustTable(model.Spec[record, int32]{Name: "users", Key: "id", Indexes: model.Indexes[record]{
		model.NewUnique[record, string]("email"), model.NewUnique[record, int64]("team"),
	}}).Relation())
	other := spell(model.MustTable(model.Spec[wide, int64]{Name: "users", Key: "id", Indexes: model.Indexes[wide]{
		model.NewUnique[wide, []byte]("email"), model.NewUnique[wide, int]("team"),
	}}).Relation())
	want := []string{"users.id(int)", "users.email(text)", "users.team(int)"}
	for i, w := range want {
		if narrow[i] != w {
			t.Errorf("%s, want %s", narrow[i], w)
		}
		if same := narrow[i] == other[i]; same != (i != 1) {
			t.Errorf("%s and %s", narrow[i], other[i])
		}
	}
}

// The wall clock counts too: the monotonic one stands still while a virtual machine is suspended.
func TestInstantPasses(t *testing.T) {
	base := time.Now()
	var i instant
	if !i.passed(base, base) {
		t.Error("the zero instant has not passed")
	}
	i.set(base, base.Add(time.Minute))
	if i.passed(base, base.Add(59*time.Second)) || !i.passed(base, base.Add(61*time.Second)) {
		t.Error("by the monotonic clock")
	}
	i.mono.Store(int64(time.Hour))
	if !i.passed(base, base.Add(61*time.Second)) {
		t.Error("by the wall clock")
	}
}
