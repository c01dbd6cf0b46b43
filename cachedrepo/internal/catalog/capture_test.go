package catalog_test

import (
	"strings"
	"testing"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/migrations"
	"github.com/asidego/aside/model"
)

// What is to be said of a captured table, step by step; and what a foreign key and a trigger do to it is captured, for as
// long as all of it is.
func TestCapture(t *testing.T) {
	t.Parallel()
	pg := testenv.PostgresWith(t, "CREATE TABLE parents (id bigint PRIMARY KEY); CREATE TABLE things (id bigint PRIMARY KEY, parent bigint NOT NULL CONSTRAINT fk REFERENCES parents ON DELETE CASCADE, name text NOT NULL, more text) PARTITION BY RANGE (id);"+
		"CREATE TABLE low PARTITION OF things FOR VALUES FROM (0) TO (9);"+
		trigger("t", "things", "AFTER UPDATE", "UPDATE things SET name = 'x' WHERE id = 9; RETURN NEW;")+
		trigger("s", "things", "BEFORE UPDATE", "RETURN NULL;")+
		trigger("o", "parents", "AFTER UPDATE", "UPDATE things SET name = 'x'; RETURN NEW;"))
	if err := migrations.Apply(t.Context(), pg.URL()); err != nil {
		t.Fatal(err)
	}
	db := pg.Open(t)
	byName := model.NewIndex[thing, string]("name")
	rel := model.MustTable(model.Spec[thing, int64]{Name: "things", Key: "id", Indexes: model.Indexes[thing]{byName}}).Relation()
	up, down := migrations.Capture(rel, false)
	also, _ := migrations.Capture(rel, true)
	keyOnly, _ := migrations.Capture(things("things", ""), false)
	const unseen = "refuse cascade fk, note no-index name, warn trigger s, warn trigger t, warn trigger-other o"
	const captured = "note no-index name, warn trigger s" // that one makes a write look like a missing row
	for _, step := range []struct{ do, want string }{
		{"SELECT 1", unseen},
		{up, captured},
		{"ALTER TABLE things DISABLE TRIGGER aside_capture_insert", "warn capture-disabled things, " + unseen},
		{"ALTER TABLE things ENABLE TRIGGER aside_capture_insert", "warn capture-disabled things, " + unseen},
		{up, captured},
		{"DROP TRIGGER aside_capture_delete ON low", "warn capture-disabled low, " + unseen},
		{also, captured},
		{"ALTER TABLE things DISABLE TRIGGER aside_capture_row", "warn capture-disabled things, " + unseen},
		{up, captured},
		{"CREATE TABLE high PARTITION OF things FOR VALUES FROM (10) TO (19)", "warn capture-partition high, " + unseen},
		{up, captured},
		{down + keyOnly, "warn capture-stale high, warn capture-stale low, warn capture-stale things, " + unseen},
		{up, captured},
		{"SELECT aside_capture('things', '{more}')", captured},
		{"ALTER TABLE things DROP more", "warn capture-stale high, warn capture-stale low, warn capture-stale things, " + unseen},
		{up, captured},
		{
			"DROP TRIGGER aside_capture_insert ON low; CREATE TRIGGER aside_capture_insert AFTER INSERT ON low REFERENCING NEW TABLE AS aside_new FOR EACH STATEMENT" +
				" EXECUTE FUNCTION aside_capture_things('0', 'public.things', 'id', 'name'); ALTER TABLE low ENABLE ALWAYS TRIGGER aside_capture_insert",
			"warn capture-stale low, " + unseen,
		},
		{up, captured},
		{"ALTER TABLE things RENAME TO t2; ALTER TABLE t2 SET SCHEMA public; CREATE SCHEMA other; ALTER TABLE t2 RENAME TO things; ALTER TABLE things SET SCHEMA other; SET search_path = other, public", "warn capture-stale high, warn capture-stale low, warn capture-stale things, " + unseen},
	} {
		db.SetMaxOpenConns(1)
		db.MustExec(step.do)
		v := judge(t, db, rel)
		if got := strings.Join(lines(v.Findings), ", "); sorted(got) != sorted(step.want) || v.Captured != (step.want == captured) {
			t.Errorf("%s: captured %v, %v\n got %s\nwant %s", step.do, v.Captured, v.Findings, got, step.want)
		}
	}
}

// sorted is the list in an order that does not depend on severity.
func sorted(list string) string {
	all := strings.Split(list, ", ")
	for i := range all {
		for j := range i {
			if all[i] < all[j] {
				all[i], all[j] = all[j], all[i]
			}
		}
	}
	return strings.Join(all, ", ")
}
