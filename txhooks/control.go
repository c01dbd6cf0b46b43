package txhooks

import (
	"fmt"

	"github.com/asidego/aside/txhooks/internal/sqltext"
)

// refuseControl keeps statements from ending the transaction behind our back: what follows would commit by itself, and
// pgx answers a COMMIT after that with success.
func refuseControl(query string) error {
	if verb := sqltext.Control(query); verb != "" {
		return fmt.Errorf("aside: %s in a transaction of Run: it would end it behind Run's back", verb)
	}
	return nil
}
