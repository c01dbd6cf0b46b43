package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Lines only: what a terminal shows and what a CI log keeps are the same.

func (d *demo) title(text string)               { fmt.Fprintf(d.out, "\n%s\n", text) }
func (d *demo) say(format string, args ...any)  { fmt.Fprintf(d.out, "   "+format+"\n", args...) }
func (d *demo) note(format string, args ...any) { d.say("("+format+")", args...) }

// during prints how far something is while it runs. It returns when ctx or the time is over.
func (d *demo) during(ctx context.Context, what string, length time.Duration) {
	const step = 3 * time.Second
	end := time.NewTimer(length)
	defer end.Stop()
	tick := time.NewTicker(step)
	defer tick.Stop()
	start := time.Now()
	for {
		select {
		case <-tick.C:
			if length-time.Since(start) > step/2 {
				d.say("%s: %.0f of %.0f s", what, time.Since(start).Seconds(), length.Seconds())
			}
		case <-end.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// table prints rows in columns; the first is a name, the others are right-aligned.
func (d *demo) table(rows ...[]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	fmt.Fprintln(d.out)
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if i == 0 {
				fmt.Fprintf(&b, "%-*s", widths[i], cell)
			} else {
				fmt.Fprintf(&b, "  %*s", widths[i], cell)
			}
		}
		d.say("%s", strings.TrimRight(b.String(), " "))
	}
	fmt.Fprintln(d.out)
}

// number is 1234567 as 1,234,567.
func number[N ~int | ~int64 | ~uint64](n N) string {
	text := strconv.FormatInt(int64(n), 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func decimal(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) }

func milliseconds(d time.Duration) string { return decimal(float64(d)/1e6) + " ms" }

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s" }

func percent[N ~int | ~int64 | ~uint64](part, whole N) string {
	if whole == 0 {
		return "-"
	}
	return strconv.FormatFloat(100*float64(part)/float64(whole), 'f', 1, 64) + " %"
}
