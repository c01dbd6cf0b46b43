#!/usr/bin/env bash
# Fails if go generate changes any file, so that generated code never lags
# behind its source. Compares before with after rather than with the last
# commit: uncommitted work is no fault.
set -euo pipefail
cd "$(dirname "$0")/.."

state() {
  git ls-files --cached --others --exclude-standard -- '*.go' '*.lua' '*.sql' docs/proof.md | sort |
    while IFS= read -r file; do
      [ ! -f "$file" ] || printf '%s %s\n' "$(git hash-object "$file")" "$file"
    done
}

before=$(state)
go generate ./...
after=$(state)
if [ "$before" != "$after" ]; then
  echo 'go generate changed these files; commit what it wrote:' >&2
  diff <(printf '%s\n' "$before") <(printf '%s\n' "$after") | sed -n 's/^> [0-9a-f]* /  /p' >&2
  exit 1
fi
