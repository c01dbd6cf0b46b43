package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	processes = 2
	hotRows   = 8
)

// compareStaleness has two processes write and read the same few rows through each kind of cache.
func (d *demo) compareStaleness(ctx context.Context, kinds ...kind) error {
	d.title("3. Two processes write and read the same rows")
	d.say("%d processes, each with %d writers and %d readers on %d cities; reads by id, by slug, and of several ids", processes, writers, readers, hotRows)
	d.say("Every write raises a version. A read is stale if it returns a version lower than one that a write had")
	d.say("returned, in either process, before the read began; the processes tell each other in shared memory.")
	rows := [][]string{{"", "reads", "writes", "unconfirmed", "from Redis", "stale reads", "worst behind"}}
	for i, k := range kinds {
		length := d.plan.coherent
		if k == kindNaive {
			length = d.plan.naive
		}
		sum, err := d.runWorkers(ctx, k, fmt.Sprintf("%s_part3_%d", d.env.name, i), length)
		if err != nil {
			return err
		}
		rows = append(rows, []string{
			string(k), number(sum.Reads), number(sum.Writes), number(sum.Unconfirmed), percent(sum.Hits, sum.Reads), number(sum.Stale),
			number(sum.Behind) + " versions",
		})
		d.promise(sum.Reads > 0 && sum.Writes > 0 && sum.Hits > 0 && sum.Unconfirmed < sum.Writes, "%s: nothing was tested: %+v", k, sum)
		// The cache to compare with promises nothing, unless -naive puts it in our place.
		if k == kindAside || d.options.naive {
			d.promise(sum.Stale == 0, "%s: %d of %d reads were stale, the worst by %d versions", k, sum.Stale, sum.Reads, sum.Behind)
		}
	}
	d.table(rows...)
	d.note("unconfirmed: Redis did not answer within %s, and the write's report said so; others may be late to see these", timeout)
	return nil
}

// runWorkers starts the worker processes, lets them begin together and adds up what they report.
func (d *demo) runWorkers(ctx context.Context, k kind, namespace string, length time.Duration) (sum tally, err error) {
	folder, err := os.MkdirTemp("", "aside-demo-")
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	t := task{
		Kind: k, Database: d.env.database, Redis: d.env.redis, Namespace: namespace,
		Ledger: filepath.Join(folder, "ledger"), Length: length,
	}
	for i := range hotRows {
		id := int64(i*len(d.slugs)/hotRows + 1)
		t.Cities, t.Slugs = append(t.Cities, id), append(t.Slugs, d.slugs[id-1])
	}
	if err := createLedger(t.Ledger, hotRows); err != nil {
		return sum, err
	}
	var workers []*worker
	defer func() {
		for _, w := range workers {
			w.kill()
		}
	}()
	for i := range processes {
		t.Seed = d.seed*processes + uint64(i)
		w, err := start(ctx, t)
		if err != nil {
			return sum, err
		}
		workers = append(workers, w)
	}
	for _, w := range workers {
		if err := w.begin(); err != nil {
			return sum, errors.Join(ctx.Err(), err)
		}
	}
	d.during(ctx, string(k), length)
	for _, w := range workers {
		got, err := w.end()
		if err != nil {
			return sum, errors.Join(ctx.Err(), err)
		}
		sum.Reads += got.Reads
		sum.Writes += got.Writes
		sum.Hits += got.Hits
		sum.Stale += got.Stale
		sum.Unconfirmed += got.Unconfirmed
		sum.Behind = max(sum.Behind, got.Behind)
	}
	return sum, nil
}

// worker is this program, running as a worker.
type worker struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	errors bytes.Buffer
	ended  bool
}

// start returns when the worker is ready.
func start(ctx context.Context, t task) (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	w := &worker{cmd: exec.CommandContext(ctx, self)}
	w.cmd.Env = append(os.Environ(), taskVariable+"="+string(text))
	w.cmd.Stderr = &w.errors
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.out = bufio.NewReader(out)
	if err := w.cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := w.out.ReadString('\n'); err != nil || line != "ready\n" {
		w.kill()
		return nil, errors.Join(ctx.Err(), fmt.Errorf("worker did not start: %q %w: %s", line, err, &w.errors))
	}
	return w, nil
}

func (w *worker) begin() error {
	_, err := fmt.Fprintln(w.in, "go")
	return err
}

// end waits for the worker's tally.
func (w *worker) end() (got tally, err error) {
	line, readErr := w.out.ReadString('\n')
	w.ended = true
	if err := w.cmd.Wait(); err != nil || readErr != nil {
		return got, fmt.Errorf("worker: %w: %s", errors.Join(err, readErr), &w.errors)
	}
	return got, json.Unmarshal([]byte(line), &got)
}

// kill ends a worker that was not waited for.
func (w *worker) kill() {
	if !w.ended {
		w.ended = true
		_ = w.cmd.Process.Kill()
		_ = w.cmd.Wait()
	}
}
