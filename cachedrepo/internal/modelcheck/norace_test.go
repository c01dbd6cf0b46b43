//go:build !race

package modelcheck_test

const slow = false
