// Package billing declares the tables of the bills.
package billing

import "github.com/asidego/aside/model"

type Invoice struct {
	ID     int64 `db:"id"`
	Tenant int64 `db:"tenant"`
	Total  int64 `db:"total"`
}

var invoices = model.MustTable(model.Spec[Invoice, int64]{Name: "invoices", Key: "id"})

// Tables are all of them.
var Tables = model.Tables{invoices}
