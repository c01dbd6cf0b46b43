package data

import (
	"strings"
	"testing"
)

func TestDataIsWhole(t *testing.T) {
	countries, regions := map[string]bool{}, map[string]bool{}
	for c, err := range Countries() {
		if err != nil {
			t.Fatal(err)
		}
		countries[c.Code] = true
	}
	for r, err := range Regions() {
		if err != nil {
			t.Fatal(err)
		}
		if regions[r.Code] {
			t.Errorf("region %s is there twice", r.Code)
		}
		regions[r.Code] = true
		if code, _, _ := strings.Cut(r.Code, "."); !countries[code] {
			t.Errorf("region %s has no country", r.Code)
		}
	}
	var last int64
	for c, err := range Cities() {
		if err != nil {
			t.Fatal(err)
		}
		if c.ID != last+1 || c.Name == "" || !regions[c.Region] || c.Lat == 0 && c.Lng == 0 {
			t.Fatalf("city after %d: %+v", last, c)
		}
		last = c.ID
	}
	if last != Count {
		t.Errorf("%d cities, want %d", last, Count)
	}
}
