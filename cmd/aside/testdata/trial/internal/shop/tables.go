// Package shop declares the tables of a shop.
package shop

import (
	"strings"
	"time"

	"github.com/asidego/aside/model"
)

type User struct {
	ID    int64  `db:"id"`
	Email string `db:"email"`
}

type Handle struct {
	ID     int64  `db:"id"`
	Handle string `db:"handle"`
}

type Country struct {
	Code string `db:"code"`
	Name string `db:"name"`
}

type Product struct {
	ID      int64     `db:"id"`
	SKU     string    `db:"sku"`
	Country string    `db:"country"`
	Stock   int64     `db:"stock"`
	Changed time.Time `db:"changed,readonly"`
}

type Order struct {
	ID     int64  `db:"id"`
	Number int64  `db:"number"`
	Status string `db:"status"`
}

type Line struct {
	ID      int64 `db:"id"`
	Order   int64 `db:"order_id"`
	Product int64 `db:"product"`
}

type Total struct {
	ID    int64 `db:"id"`
	Lines int64 `db:"lines"`
}

var (
	ByEmail   = model.NewUnique[User, string]("email")
	Users     = model.MustTable(model.Spec[User, int64]{Name: "users", Key: "id", Indexes: model.Indexes[User]{ByEmail}})
	ByHandle  = model.NewUnique[Handle, string]("handle")
	Handles   = model.MustTable(model.Spec[Handle, int64]{Name: "handles", Key: "id", Indexes: model.Indexes[Handle]{ByHandle}})
	Countries = model.MustTable(model.Spec[Country, string]{Name: "countries", Key: "code"})
	BySKU     = model.NewUnique[Product, string]("sku")
	ByCountry = model.NewIndex[Product, string]("country")
	Products  = model.MustTable(model.Spec[Product, int64]{
		Name: "products", Key: "id", Indexes: model.Indexes[Product]{BySKU, ByCountry},
		Canonical: map[string]func(string) string{"country": func(s string) string { return strings.TrimRight(s, " ") }},
	})
	Orders  = model.MustTable(model.Spec[Order, int64]{Name: "orders", Key: "id"})
	ByOrder = model.NewIndex[Line, int64]("order_id")
	Lines   = model.MustTable(model.Spec[Line, int64]{Name: "lines", Key: "id", Indexes: model.Indexes[Line]{ByOrder}})
	Totals  = model.MustTable(model.Spec[Total, int64]{Name: "totals", Key: "id"})
)
