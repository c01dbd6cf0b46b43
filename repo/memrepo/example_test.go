package memrepo_test

import (
	"context"
	"fmt"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/memrepo"
	"github.com/asidego/aside/txhooks"
)

type account struct {
	ID      int64  `db:"id"`
	Name    string `db:"name"`
	Credits int    `db:"credits"`
}

var accounts = model.MustTable(model.Spec[account, int64]{Name: "accounts", Key: "id"})

// billing declares what it needs: *repo.SQL and *txhooks.DB fit, and so do what memrepo has.
type billing struct {
	accounts interface {
		Modify(ctx context.Context, id int64, change func(a *account) error) (account, error)
	}
	tx interface {
		Run(ctx context.Context, fn func(ctx context.Context) error) error
	}
	notify func(message string)
}

func (b billing) transfer(ctx context.Context, from, to int64, credits int) error {
	return b.tx.Run(ctx, func(ctx context.Context) error {
		_, err := b.accounts.Modify(ctx, from, func(a *account) error {
			if a.Credits < credits {
				return fmt.Errorf("%s has %d credits", a.Name, a.Credits)
			}
			a.Credits -= credits
			return nil
		})
		if err != nil {
			return err
		}
		_, err = b.accounts.Modify(ctx, to, func(a *account) error { a.Credits += credits; return nil })
		txhooks.AfterCommit(ctx, func(context.Context) { b.notify(fmt.Sprintf("%d credits moved", credits)) })
		return err
	})
}

func Example() {
	repo := memrepo.New(accounts, account{1, "Ann", 5}, account{2, "Bob", 0})
	b := billing{repo, memrepo.NoTx{}, func(message string) { fmt.Println(message) }}
	ctx := context.Background()
	fmt.Println(b.transfer(ctx, 1, 2, 3))
	fmt.Println(b.transfer(ctx, 1, 2, 3))
	bob, err := repo.Find(ctx, 2)
	fmt.Println(bob.Credits, err)
	// Output:
	// 3 credits moved
	// <nil>
	// Ann has 2 credits
	// 3 <nil>
}
