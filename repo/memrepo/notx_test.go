package memrepo_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/asidego/aside/repo/memrepo"
	"github.com/asidego/aside/txhooks"
)

func TestNoTxRunsHooks(t *testing.T) {
	t.Parallel()
	var run interface {
		Run(ctx context.Context, fn func(ctx context.Context) error) error
	} = memrepo.NoTx{}
	var log []string
	note := func(what string) func(context.Context) {
		return func(context.Context) { log = append(log, what) }
	}
	err := run.Run(t.Context(), func(ctx context.Context) error {
		txhooks.AfterCommit(ctx, note("outer"))
		err := run.Run(ctx, func(ctx context.Context) error {
			txhooks.AfterCommit(ctx, note("inner"))
			return nil
		})
		note("fn")(ctx)
		return err
	})
	if want := []string{"fn", "outer", "inner"}; err != nil || !slices.Equal(log, want) {
		t.Errorf("%v, want %v, %v", log, want, err)
	}
	log = nil
	mine := errors.New("mine")
	err = run.Run(t.Context(), func(ctx context.Context) error {
		txhooks.AfterCommit(ctx, note("never"))
		return mine
	})
	if err != mine || log != nil {
		t.Errorf("%v, %v", log, err)
	}
}
