// Package model describes tables: their names, keys and indexes, references to their rows, and the errors that speak of
// them. It imports the standard library only and is shared by every process that reads or writes a table.
//
// A table is declared once, next to its record:
//
//	type Product struct {
//		ID   int64  `db:"id"`
//		SKU  string `db:"sku"`
//		Name string `db:"name"`
//	}
//
//	var (
//		BySKU    = model.NewUnique[Product, string]("sku")
//		Products = model.MustTable(model.Spec[Product, int64]{
//			Name: "products", Key: "id", Indexes: model.Indexes[Product]{BySKU},
//		})
//	)
//
// Products.Row(7), BySKU.Eq("A-1") and Products.All() are Refs: the one word for "which rows", used to look rows up, to
// say what a query depends on and to say what a statement changes.
package model
