package memstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Scan lists the keys that begin with prefix. It implements store.Scanner.
func (s *Store) Scan(ctx context.Context, prefix string, yield func(keys []string) error) error {
	const some = 1000
	for _, sh := range s.shards {
		for keys := range slices.Chunk(sh.keys(prefix), some) {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("memstore: %w", err)
			}
			if err := yield(keys); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *shard) keys(prefix string) (keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.items {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys
}
