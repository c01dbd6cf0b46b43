package cachedrepo

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// WrongEntry is an entry that says something else than the database.
type WrongEntry struct {
	Table, Index string
	Value        string   // of the index, as model.Place prints it: sensitive values are "***"
	Key          string   // in the store
	Columns      []string // those that differ; nil: one of the two says that there is no such row
	Why          string   // in words, with the values of these columns unless they are sensitive
}

// String names the entry and says what is wrong with it.
func (w WrongEntry) String() string {
	return fmt.Sprintf("%s.%s=%s (key %s): %s", w.Table, w.Index, w.Value, w.Key, w.Why)
}

// inspection is what an entry and the row that it stands for said when they were asked.
type inspection struct {
	acc   *access
	data  []model.Datum
	key   string
	value []byte // of the store
	rec   any    // a pointer to the row in the database; nil: there is none
	wrong *WrongEntry
}

// inspect compares the entry at a key with the database. It finds nothing where readers would find nothing either: a key
// that is absent, held by a lease or an intent, or whose value nobody would use.
//
// What it finds wrong need not be: a writer may have committed and be about to invalidate. See confirm.
func (rt *runtime) inspect(ctx context.Context, i *inspection) error {
	call, cancel := context.WithTimeout(ctx, rt.cfg.WriteTimeout) // nobody is in a hurry
	defer cancel()
	op := []store.Op{{Kind: store.Get, Key: i.key}}
	var reply [1]store.Reply
	if err := rt.nodes.do(call, ctx, nil, "audit", op, reply[:]); err != nil {
		return err
	}
	i.value, i.rec, i.wrong = nil, nil, nil
	if reply[0].State != store.Value {
		return nil
	}
	t := i.acc.table
	e, err := openEnvelope(i.key, reply[0].Value, i.acc.epoch(i.key), t.codec.fingerprint)
	var cached any
	if err == nil && e.flags&flagAbsent == 0 {
		cached = reflect.New(t.rel.Record).Interface()
		err = t.codec.decode(e.payload, cached)
	}
	if err != nil {
		return nil
	}
	if i.data == nil && !i.locate(cached) {
		return nil
	}
	if i.rec, err = rt.row(ctx, i.acc, i.data); err != nil {
		return err
	}
	i.value = reply[0].Value
	i.wrong = i.compare(cached)
	return nil
}

// confirm inspects again what was found wrong a while ago. It is wrong if nothing has changed meanwhile: neither what is in
// the store, as it does once a writer that was between its commit and its invalidation goes on, nor the row.
func (rt *runtime) confirm(ctx context.Context, i *inspection) (*WrongEntry, error) {
	again := &inspection{acc: i.acc, data: i.data, key: i.key}
	if err := rt.inspect(ctx, again); err != nil || again.wrong == nil {
		return nil, err
	}
	same := i.rec == nil && again.rec == nil ||
		i.rec != nil && again.rec != nil && len(i.acc.table.differing(i.rec, again.rec)) == 0
	if !same || !bytes.Equal(i.value, again.value) {
		return nil, nil
	}
	return again.wrong, nil
}

// locate finds the value of the index that a key stands for: from the record, or by reading the key if the entry says that
// there is none. Where a hash stands in the key nobody can.
func (i *inspection) locate(cached any) bool {
	data, ok := i.acc.parse(i.key)
	if cached != nil {
		var err error
		data, err = i.acc.valueOf(nil, cached)
		ok = err == nil
	}
	if !ok || i.acc.key(data) != i.key {
		return false
	}
	i.data = data
	return true
}

// row reads the row at a value, past all caches; nil: there is none.
func (rt *runtime) row(ctx context.Context, a *access, data []model.Datum) (any, error) {
	ctx, cancel := context.WithTimeout(txhooks.OnPrimary(ctx), rt.cfg.LoadTimeout)
	defer cancel()
	rel := a.table.rel
	where := a.Columns
	if rel.Scope >= 0 {
		where = append([]int{rel.Scope}, where...)
	}
	var b strings.Builder
	b.WriteString("SELECT ")
	for n := range rel.Columns {
		b.WriteString(map[bool]string{true: "", false: ", "}[n == 0] + quote(rel.Columns[n].Name))
	}
	b.WriteString(" FROM " + quote(strings.Split(rel.Name, ".")...) + " WHERE ")
	var args []any
	for n, c := range where {
		args = append(args, data[n].Arg())
		b.WriteString(map[bool]string{true: "", false: " AND "}[n == 0] + quote(rel.Columns[c].Name) + " = $" + strconv.Itoa(n+1))
	}
	if rel.Filter != "" {
		b.WriteString(" AND (" + rel.Filter + ")")
	}
	rows, err := rt.db.QueryContext(ctx, b.String(), args...)
	if err != nil {
		return nil, fmt.Errorf("aside: table %s: %w", rel.Name, err)
	}
	defer rows.Close()
	if !rows.Next() {
		return nil, rows.Err()
	}
	rec := reflect.New(rel.Record).Interface()
	if err := rows.Scan(rel.Pointers(rec, rel.AllColumns())...); err != nil {
		return nil, fmt.Errorf("aside: table %s: %w", rel.Name, err)
	}
	rel.Normalize(rec)
	return rec, rows.Err()
}

// quote is a name in SQL, with its schema if it has one.
func quote(parts ...string) string {
	quoted := make([]string, len(parts))
	for i, p := range parts {
		quoted[i] = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
	}
	return strings.Join(quoted, ".")
}

// compare says what is wrong with what is cached; cached is nil for "no such row".
func (i *inspection) compare(cached any) *WrongEntry {
	rel := i.acc.table.rel
	w := &WrongEntry{Table: rel.Name, Index: i.acc.Name, Key: i.key, Value: i.acc.Print(i.data[len(i.data)-len(i.acc.Columns):])}
	switch {
	case cached == nil && i.rec == nil:
		return nil
	case cached == nil:
		w.Why = "the entry says that there is no such row, and there is one"
		return w
	case i.rec == nil:
		w.Why = "the entry has a row that is not there"
		return w
	}
	differ := i.acc.table.differing(cached, i.rec)
	if len(differ) == 0 {
		return nil
	}
	var why []string
	for _, c := range differ {
		w.Columns = append(w.Columns, rel.Columns[c].Name)
		if rel.Columns[c].Sensitive {
			why = append(why, rel.Columns[c].Name+" differs")
			continue
		}
		why = append(why, fmt.Sprintf("%s is %s in the entry and %s in the database", rel.Columns[c].Name,
			printed(rel.Field(cached, c)), printed(rel.Field(i.rec, c))))
	}
	w.Why = strings.Join(why, ", ")
	return w
}

// printed is a value in at most 64 bytes or so.
func printed(v any) string {
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer && !r.IsNil() {
		r = r.Elem()
	}
	text := fmt.Sprintf("%v", r)
	if r.Kind() == reflect.String {
		text = strconv.Quote(r.String())
	}
	if len(text) > 64 {
		text = strings.ToValidUTF8(text[:61], "") + "..."
	}
	return text
}

// differing are the columns in which two records differ, to which a and b point.
func (t *table) differing(a, b any) (columns []int) {
	for i := range t.rel.Columns {
		path := t.rel.Columns[i].Path()
		if !identical(t.codec.view(a).Elem().FieldByIndex(path), t.codec.view(b).Elem().FieldByIndex(path)) {
			columns = append(columns, i)
		}
	}
	return columns
}

// parse reads the value of an index from a key. It fails for keys of other indexes and for those with a hash in them.
func (a *access) parse(key string) ([]model.Datum, bool) {
	text, ok := strings.CutPrefix(key, a.prefix)
	if !ok {
		return nil, false
	}
	columns := a.Columns
	if a.table.rel.Scope >= 0 {
		columns = append([]int{a.table.rel.Scope}, columns...)
	}
	parts := strings.Split(text, ":")
	if len(parts) != len(columns) {
		return nil, false
	}
	data := make([]model.Datum, len(parts))
	for n, part := range parts {
		if data[n], ok = parseDatum(a.table.rel.Columns[columns[n]].Type, part); !ok {
			return nil, false
		}
	}
	return data, a.key(data) == key
}

// parseDatum is the other direction of appendKey. The key does not say what kind of value it has; the field does.
func parseDatum(t reflect.Type, part string) (d model.Datum, ok bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if strings.HasPrefix(part, "#") {
		return d, false
	}
	zero, err := model.DatumOf(reflect.Zero(t).Interface())
	if err != nil {
		return d, false
	}
	switch d.Kind = zero.Kind; {
	case d.Kind == model.Int:
		d.Int, err = strconv.ParseInt(part, 10, 64)
		return d, err == nil
	case d.Kind == model.Bool:
		var b bool
		b, err = strconv.ParseBool(part)
		if b {
			d.Int = 1
		}
		return d, err == nil
	case d.Kind == model.Bytes, t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		text, err := hex.DecodeString(part)
		return model.Datum{Kind: model.Bytes, Text: string(text)}, err == nil
	}
	d.Kind = model.Text // also of what is NULL while it is zero
	d.Text, ok = unescape(part)
	return d, ok
}

// unescape undoes escapeText.
func unescape(part string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(part); i++ {
		if part[i] != '%' {
			b.WriteByte(part[i])
			continue
		}
		if i+2 >= len(part) {
			return "", false
		}
		c, err := strconv.ParseUint(part[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), true
}
