package redisstore

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/cachedrepo/storetest"
	"github.com/asidego/aside/internal/loopback"
	"github.com/asidego/aside/internal/testenv"
)

// What docs/redis.md says that a user of Redis must be allowed.
var (
	needed   = []string{"get", "mget", "set", "del", "eval", "evalsha", "time", "pttl"}
	scanning = []string{"scan"}
	asking   = []string{"info", "role"}
	cluster  = []string{"cluster|slots", "cluster|nodes", "command", "asking"}
)

func allow(t *testing.T, admin *redis.Client, commands ...string) {
	t.Helper()
	args := []any{"acl", "setuser", "app", "reset", "on", ">secret", "~p:*"}
	for _, c := range commands {
		args = append(args, "+"+c)
	}
	if err := admin.Do(context.Background(), args...).Err(); err != nil {
		t.Fatal(err)
	}
}

// TestLeastRights: with these commands on keys of the namespace everything works, and each of them is needed.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	admin := server.Client(t)
	o := server.Options()
	o.Username, o.Password = "app", "secret"
	allow(t, admin, append(slices.Clone(needed), scanning...)...)
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	t.Run("all", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) storetest.Harness {
			return storetest.Harness{Store: New(client), Prefix: "p:"}
		})
	})
	if err := New(client).Check(context.Background()); err != nil { // it may not ask, and starts all the same
		t.Error(err)
	}
	allow(t, admin, append(slices.Clone(needed), asking...)...)
	if err := admin.ConfigSet(context.Background(), "maxmemory-policy", "volatile-lru").Err(); err != nil {
		t.Fatal(err)
	}
	s := New(client)
	if err := s.Check(context.Background()); err != nil || !s.persist.Load() {
		t.Errorf("Check: %v, and the policy is not known", err)
	}

	ctx := context.Background()
	for _, without := range append(slices.Clone(needed), scanning...) {
		rights := slices.DeleteFunc(append(slices.Clone(needed), scanning...), func(c string) bool { return c == without })
		allow(t, admin, rights...)
		if err := admin.ScriptFlush(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		s := New(client)
		run := func() error {
			replies := make([]store.Reply, 2)
			for _, batch := range [][]store.Op{
				{{Key: "p:a"}},
				{{Key: "p:a"}, {Key: "p:b"}},
				{{Kind: store.Acquire, Key: "p:" + without, Token: tok(1), TTL: time.Hour}},
				{{Kind: store.Fill, Key: "p:" + without, Token: tok(1), Value: []byte("v"), TTL: time.Hour}},
				{{Kind: store.Stamps, Key: "p:g" + without, Token: tok(1), TTL: time.Hour}},
				{{Kind: store.Stamps, Key: "p:g" + without, Token: tok(1), TTL: time.Hour}},
				{{Kind: store.Invalidate, Key: "p:" + without}},
			} {
				if err := s.Do(ctx, batch, replies); err != nil {
					return err
				}
			}
			return s.Scan(ctx, "p:", func([]string) error { return nil })
		}
		if err := run(); !errors.Is(err, store.ErrRefused) {
			t.Errorf("without %s: %v", without, err)
		}
	}
	allow(t, admin, append(slices.Clone(needed), scanning...)...)
	if err := New(client).Do(ctx, []store.Op{{Key: "q:a"}}, make([]store.Reply, 1)); !errors.Is(err, store.ErrRefused) {
		t.Errorf("a neighbour's key: %v", err)
	}
}

// TestLeastRightsOfACluster: the same, and what a Cluster client asks besides.
func TestLeastRightsOfACluster(t *testing.T) {
	t.Parallel()
	servers := testenv.NewRedisCluster(t)
	rights := slices.Concat(needed, scanning, cluster)
	for _, m := range servers.Masters {
		allow(t, m.Client(t), rights...)
	}
	o := servers.Options()
	o.Username, o.Password = "app", "secret"
	client := redis.NewClusterClient(o)
	t.Cleanup(func() { _ = client.Close() })
	storetest.Run(t, func(*testing.T) storetest.Harness {
		return storetest.Harness{Store: New(client), Prefix: "p:"}
	})
}

// TestTLS: the example of docs/redis.md.
func TestTLS(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	admin := server.Client(t)
	ctx := context.Background()
	dir := admin.ConfigGet(ctx, "dir").Val()["dir"]
	pool := certificate(t, dir)
	port, err := loopback.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.Do(ctx, "config", "set", "tls-cert-file", filepath.Join(dir, "redis.crt"), "tls-key-file", filepath.Join(dir, "redis.key"),
		"tls-auth-clients", "no", "tls-port", strconv.Itoa(port)).Err(); err != nil {
		if strings.Contains(err.Error(), "Unknown option") || strings.Contains(err.Error(), "Unsupported") {
			if os.Getenv("CI") != "" {
				t.Fatal("this redis-server is built without TLS")
			}
			t.Skip("this redis-server is built without TLS")
		}
		t.Fatal(err)
	}
	o := server.Options()
	o.Addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	o.TLSConfig = &tls.Config{RootCAs: pool, ServerName: "redis.test", MinVersion: tls.VersionTLS12}
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	storetest.Run(t, func(*testing.T) storetest.Harness {
		return storetest.Harness{Store: New(client), Prefix: "p:"}
	})
	o.TLSConfig = &tls.Config{ServerName: "redis.test", MinVersion: tls.VersionTLS12}
	stranger := redis.NewClient(o)
	defer stranger.Close()
	if err := New(stranger).Do(ctx, []store.Op{{Key: "p:a"}}, make([]store.Reply, 1)); err == nil || errors.Is(err, store.ErrRefused) {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
}

// certificate makes a key and a certificate for redis.test, signed by itself, where the server can read them.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis.test"}, DNSNames: []string{"redis.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"redis.crt": {Type: "CERTIFICATE", Bytes: der},
		"redis.key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}
