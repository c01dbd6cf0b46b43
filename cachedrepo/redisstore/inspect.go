package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/finding"
)

// maxSkew is how far the server's clock may be from this one's: deadlines are the server's, and are read by both.
const maxSkew = 2 * time.Second

// Inspect reports on the client and on each master that it reaches: what Check refuses, what Warnings warns of, and the
// state of the server. It reads only. A server that is away is a finding too; a command that the server does not allow
// this user (INFO, TIME) costs the findings that it would have brought.
func (s *Store) Inspect(ctx context.Context) []finding.Finding {
	if s.unfit != nil {
		return []finding.Finding{{
			Code: finding.RedisClient, Severity: finding.Refuse,
			Text: strings.TrimPrefix(s.unfit.Error(), "redisstore: "), Advice: "use a client of one server, of Sentinel's master or of a Cluster's masters",
		}}
	}
	var all []finding.Finding
	s.mu.Lock()
	for _, w := range s.settings {
		text, advice, _ := strings.Cut(w, "; ")
		if advice == "" {
			advice = "see redisstore.Tune"
		}
		all = append(all, finding.Finding{Code: finding.RedisClient, Severity: finding.Warn, Text: text, Advice: advice})
	}
	s.mu.Unlock()

	var mu sync.Mutex
	look := func(ctx context.Context, client redis.Cmdable, node string) {
		found := inspectServer(ctx, client)
		mu.Lock()
		defer mu.Unlock()
		for _, f := range found {
			if f.Object == "" {
				f.Object = node
			} else if node != "" {
				f.Object = node + " " + f.Object
			}
			all = append(all, f)
		}
	}
	err := s.await(ctx, func() error {
		if c, ok := s.client.(*redis.ClusterClient); ok {
			return c.ForEachMaster(ctx, func(ctx context.Context, client *redis.Client) error {
				look(ctx, client, client.Options().Addr)
				return nil
			})
		}
		look(ctx, s.client, "")
		return nil
	})
	mu.Lock() // what was left behind when ctx ended may still be looking
	defer mu.Unlock()
	if err != nil {
		all = append(all, away(err))
	}
	return all[:len(all):len(all)]
}

func away(err error) finding.Finding {
	return finding.Finding{
		Code: finding.RedisUnreachable, Severity: finding.Warn, Text: "Redis does not answer: " + err.Error(),
		Advice: "reads go to the database until it does; check the address, and that the server runs",
	}
}

// inspectServer looks at one server.
func inspectServer(ctx context.Context, client redis.Cmdable) []finding.Finding {
	var found []finding.Finding
	add := func(code string, s finding.Severity, object, text, advice string) {
		found = append(found, finding.Finding{Code: code, Severity: s, Object: object, Text: text, Advice: advice})
	}
	if err := client.Ping(ctx).Err(); err != nil {
		return []finding.Finding{away(err)}
	}
	info := make(map[string]string) // what is not allowed or not known is not there
	for _, section := range []string{"server", "replication", "memory", "persistence"} {
		text, _ := client.Info(ctx, section).Result()
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				info[name] = value
			}
		}
	}

	if v := info["redis_version"]; v != "" && major(v) < 7 {
		add(finding.RedisVersion, finding.Warn, "", "the server is Redis "+v+": SET NX GET is not known before 7.0, so that every miss runs a script instead", "use Redis 7.0 or later")
	}
	if info["role"] == "slave" {
		add(finding.RedisRole, finding.Refuse, "", "the client's commands reach a replica, which lags behind invalidations", "connect to the master")
	}
	switch policy := info["maxmemory_policy"]; {
	case strings.HasPrefix(policy, "allkeys-"):
		add(finding.RedisPolicy, finding.Warn, "maxmemory-policy", policy+" may evict writers' tokens before entries", "set volatile-lru or volatile-lfu")
	case policy == "noeviction" && info["maxmemory"] != "" && info["maxmemory"] != "0":
		add(finding.RedisPolicy, finding.Note, "maxmemory-policy", "noeviction refuses fills when the memory is full; invalidations go on", "set volatile-lru or volatile-lfu, if nothing else is kept on this server")
	}
	if status := info["rdb_last_bgsave_status"]; status == "err" {
		severity, text := finding.Warn, "the last save to disk failed"
		if stops := setting(ctx, client, "stop-writes-on-bgsave-error"); stops != "no" {
			text += ", so that the server answers reads and refuses writes: invalidations too (MISCONF)"
		}
		add(finding.RedisWrites, severity, "rdb_last_bgsave_status", text, "see to the disk, or set stop-writes-on-bgsave-error no on a server that only caches")
	}
	if info["aof_enabled"] == "1" && info["aof_last_write_status"] == "err" {
		add(finding.RedisWrites, finding.Warn, "aof_last_write_status", "the last write to the append-only file failed: the server answers reads and refuses writes (MISCONF)", "see to the disk")
	}
	if need := setting(ctx, client, "min-replicas-to-write"); need != "" && need != "0" {
		good, known := info["min_slaves_good_slaves"]
		n, _ := strconv.Atoi(need)
		if g, err := strconv.Atoi(good); known && err == nil && g < n {
			add(finding.RedisWrites, finding.Warn, "min-replicas-to-write", fmt.Sprintf("%d of %s replicas are there: the server answers reads and refuses writes (NOREPLICAS)", g, need), "bring the replicas back, or lower the setting")
		} else {
			add(finding.RedisWrites, finding.Note, "min-replicas-to-write", "when replicas are missing the server answers reads and refuses writes: entries then grow old in processes that did not notice", "set it to 0 on a server that only caches")
		}
	}
	before := time.Now()
	if now, err := client.Time(ctx).Result(); err == nil {
		after := time.Now()
		if skew := max(before.Sub(now), now.Sub(after)); skew > maxSkew { // less than that it may have been underway
			add(finding.RedisClock, finding.Warn, "", fmt.Sprintf("the server's clock is %s away from this machine's", skew.Round(time.Second)), "let both follow NTP")
		}
	}
	return found
}

// setting is one of CONFIG, empty if it may not be asked for.
func setting(ctx context.Context, client redis.Cmdable, name string) string {
	all, _ := client.ConfigGet(ctx, name).Result()
	return all[name]
}

func major(version string) int {
	first, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(first)
	if err != nil {
		return 7 // a look-alike that counts otherwise
	}
	return n
}
