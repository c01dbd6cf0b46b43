package cachedrepo_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

type patient struct {
	ID    int64  `db:"id"`
	Email string `db:"email,sensitive"`
	Name  string `db:"name"`
}

type secretive struct {
	ID   int64  `db:"id"`
	Hash string `db:"hash,nocache"`
}

var (
	byAddress = model.NewUnique[patient, string]("email")
	patients  = model.MustTable(model.Spec[patient, int64]{Name: "people", Key: "id", Indexes: model.Indexes[patient]{byAddress}})
	secrets   = model.MustTable(model.Spec[secretive, int64]{Name: "secrets", Key: "id"})
)

const peopleSchema = `CREATE TABLE people (id bigint PRIMARY KEY, email text UNIQUE NOT NULL, name text NOT NULL)`

// The value of a sensitive column stands in no key, no error and no log line, and is cached and invalidated all the same.
func TestSensitiveValues(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	client := server.Client(t)
	conn, _ := openCounted(t, testenv.PostgresWith(t, peopleSchema).URL())
	db := txhooks.New(conn, txhooks.Config{})
	var log bytes.Buffer
	c, err := cachedrepo.New(db, redisstore.New(client), cachedrepo.Config{
		Namespace: "people", Tables: model.Tables{patients}, Secret: []byte("0123456789abcdef"), Timeout: patience,
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(t.Context()) })
	cached := cachedrepo.Wrap(c, repo.Repository[patient, int64](repo.New(db, patients)))
	const email = "ada.lovelace@example.org"

	_, err = cached.FindBy(t.Context(), byAddress.Eq(email))
	if !errors.Is(err, model.ErrNotFound) || strings.Contains(err.Error(), "ada") {
		t.Fatal(err)
	}
	if _, err := cached.Insert(t.Context(), patient{1, email, "Ada"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if p, err := cached.FindBy(t.Context(), byAddress.Eq(email)); err != nil || p.Name != "Ada" {
			t.Fatal(p, err)
		}
	}
	if c.Stats().Hits != 1 {
		t.Errorf("%+v", c.Stats())
	}
	_, err = cached.Insert(t.Context(), patient{2, email, "Eve"})
	if !errors.Is(err, model.ErrDuplicate) || strings.Contains(err.Error(), "ada") {
		t.Error(err)
	}
	_, err = cachedrepo.Find(t.Context(), c.View("people"), byAddress.Eq("other@example.org"), func(context.Context) (patient, error) {
		return patient{1, email, "Ada"}, nil
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := cached.Modify(t.Context(), 1, func(p *patient) error { p.Name = "Countess"; return nil }); err != nil {
		t.Fatal(err)
	}
	if p, err := cached.FindBy(t.Context(), byAddress.Eq(email)); err != nil || p.Name != "Countess" {
		t.Error(p, err)
	}
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) == 0 {
		t.Fatal(keys, err)
	}
	for _, key := range keys {
		if strings.Contains(key, "ada") || strings.Contains(key, "other") {
			t.Errorf("the key is %s", key)
		}
	}
	if strings.Contains(log.String(), "ada") || strings.Contains(log.String(), "other@") {
		t.Errorf("the log says\n%s", log.String())
	}
}

func TestSensitiveNeedsSecretAndNoCacheIsRefused(t *testing.T) {
	t.Parallel()
	shop := newShop(t)
	for want, cfg := range map[string]cachedrepo.Config{
		"table people, index email: a column is sensitive, so Config.Secret needs 16 bytes": {Tables: model.Tables{patients}, Secret: []byte("short")},
		"table secrets: column hash is marked nocache":                                      {Tables: model.Tables{secrets}},
	} {
		cfg.Namespace = "x"
		if _, err := cachedrepo.New(shop.db, memstore.New(memstore.Config{}), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
