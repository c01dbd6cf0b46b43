// Package memrepo is a repository in memory, for unit tests of code that uses package repo.
//
//	products := memrepo.New(Products, Product{ID: 1, SKU: "A-1"})
//	service := NewService(products, memrepo.NoTx{})
//
// It answers as repo.SQL does: the same errors for what is missing, duplicate or of another version, the same order of
// lists and the same cursors. What only the database knows it does not: foreign keys, NOT NULL and CHECK, the defaults
// of columns and generated columns (see Repo.Fill), the condition in Spec.Filter (see Repo.Filter), collations (text is
// compared by its bytes) and the precision of times. Values of types with a Value method are ordered as what Value
// returns: a decimal that travels as text is ordered as text.
//
// There are no transactions. What a failed Run wrote stays, and nothing is reported to subscribers of a *txhooks.DB.
package memrepo
