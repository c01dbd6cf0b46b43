package model

import (
	"database/sql"
	"errors"
	"fmt"
	"reflect"
)

func (r *Relation) setScope(name string) error {
	i, ok := r.column(name)
	if !ok {
		return r.errorf("scope %s: no field of %s has db tag %q", name, r.Record.Name(), name)
	}
	c := r.Columns[i]
	if c.Nullable && c.Type.Kind() != reflect.Slice {
		return r.errorf("scope %s is %s in %s: a scope cannot be NULL", name, c.Type, r.Record.Name())
	}
	if c.ReadOnly {
		return r.errorf("scope %s is read-only: a row is inserted with its scope", name)
	}
	if err := keyType(c.Type); err != nil {
		return r.errorf("scope %s: %w", name, err)
	}
	r.Scope = i
	return nil
}

// ScopeDatum converts a tenant, as txhooks.Config.Scope returns it, to what its column holds. nil is no tenant.
func (r *Relation) ScopeDatum(tenant any) (Datum, error) {
	c := &r.Columns[r.Scope]
	d, err := DatumOf(tenant)
	if err != nil {
		return d, r.errorf("scope %s: %w", c.Name, err)
	}
	if d.Kind == Null {
		return d, &Error{Kind: ErrNoScope, Table: r.Name}
	}
	if own, err := DatumOf(reflect.Zero(c.Type).Interface()); err == nil && own.Kind != Null && own.Kind != d.Kind {
		return d, r.errorf("scope %s is %s in %s, and Config.Scope returned %T", c.Name, c.Type, r.Record.Name(), tenant)
	}
	c.spell(&d)
	return d, nil
}

// ScopeOf returns the tenant of rec, a pointer to a record.
func (r *Relation) ScopeOf(rec any) (Datum, error) {
	c := &r.Columns[r.Scope]
	d, err := DatumOf(reflect.ValueOf(rec).Elem().FieldByIndex(c.path).Interface())
	if err != nil {
		return d, r.errorf("scope %s: %w", c.Name, err)
	}
	c.spell(&d)
	return d, nil
}

// ScopeOfImage returns the tenant of a row's image.
func (r *Relation) ScopeOfImage(img Image) Datum {
	d := img[r.scope]
	r.Columns[r.Scope].spell(&d)
	return d
}

// PutScope gives rec, a pointer to a record, its tenant, if it has none, and fails if it has another.
func (r *Relation) PutScope(rec any, d Datum) error {
	c := &r.Columns[r.Scope]
	f := reflect.ValueOf(rec).Elem().FieldByIndex(c.path)
	if !f.IsZero() {
		own, err := r.ScopeOf(rec)
		if err == nil && own != d {
			err = errOtherScope
		}
		return err
	}
	if to, ok := f.Addr().Interface().(sql.Scanner); ok {
		return to.Scan(d.Arg())
	}
	return setDatum(f, d)
}

var errOtherScope = errors.New("the record belongs to another scope than the context")

func setDatum(f reflect.Value, d Datum) error {
	switch {
	case d.Kind == Int && f.CanInt() && !f.OverflowInt(d.Int):
		f.SetInt(d.Int)
	case d.Kind == Int && f.CanUint() && d.Int >= 0 && !f.OverflowUint(uint64(d.Int)):
		f.SetUint(uint64(d.Int))
	case d.Kind == Bool && f.Kind() == reflect.Bool:
		f.SetBool(d.Int == 1)
	case d.Kind == Text && f.Kind() == reflect.String:
		f.SetString(d.Text)
	case d.Kind == Bytes && f.Kind() == reflect.Slice:
		f.SetBytes([]byte(d.Text))
	default:
		return fmt.Errorf("%s cannot hold the scope %s", f.Type(), d)
	}
	return nil
}

func (r *Relation) setCanonical(spellings map[string]func(string) string) error {
	for name, f := range spellings {
		i, ok := r.column(name)
		if !ok {
			return r.errorf("canonical %s: no field of %s has db tag %q", name, r.Record.Name(), name)
		}
		if f == nil {
			return r.errorf("canonical %s is nil", name)
		}
		c := &r.Columns[i]
		if t := plain(c.Type); t.Kind() != reflect.String && !t.Implements(valuerType) {
			return r.errorf("canonical %s: the column is %s in %s, and only texts have several spellings", name, c.Type, r.Record.Name())
		}
		c.Canonical = f
	}
	return nil
}

// spell gives a text its one spelling.
func (c *Column) spell(d *Datum) {
	if c.Canonical != nil && d.Kind == Text {
		d.Text = c.Canonical(d.Text)
	}
}
