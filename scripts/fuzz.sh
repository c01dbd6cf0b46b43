#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other, FUZZTIME each: go
# test accepts one target of one package at a time.
set -euo pipefail
cd "$(dirname "$0")/.."
fuzztime=${FUZZTIME:-60s}

# go test -list prints a package's targets and then its "ok" line.
targets=$(go test -list '^Fuzz' ./... |
  awk '/^Fuzz/ { names[n++] = $1 } /^ok/ { for (i = 0; i < n; i++) print $2, names[i]; n = 0 }')
[ -n "$targets" ] || { echo 'no fuzz targets'; exit 0; }

while read -r package name; do
  echo "== $package $name ($fuzztime)"
  go test -run '^$' -fuzz "^$name\$" -fuzztime "$fuzztime" "$package" </dev/null
done <<<"$targets"
