#!/usr/bin/env bash
# Makes sure that what the tests and the demo need is on this machine: Go, a C
# compiler (for the race detector), the server programs of PostgreSQL and Redis.
# Nothing is started: the tests start private servers of their own.
#
# Order: what is there; apt-get or Homebrew; Docker; else advice. Runs on bash 3.2.
set -euo pipefail
cd "$(dirname "$0")/.."

min_postgres=13
min_redis=7
env_file=.aside-env

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$@" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# postgres_dir prints the folder of the newest PostgreSQL that has both initdb
# and postgres, looking where internal/localserver looks.
postgres_dir() {
  local dir version best= best_version=0
  for dir in "$(dirname "$(command -v postgres || echo /nowhere/x)")" \
    /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
    /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin; do
    [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ] || continue
    version=$("$dir/postgres" --version | sed 's/^[^0-9]*//; s/[^0-9].*//')
    if [ "${version:-0}" -gt "$best_version" ]; then best=$dir best_version=$version; fi
  done
  [ "$best_version" -ge "$min_postgres" ] && printf '%s\n' "$best"
}

redis_ok() {
  local version
  have redis-server || return 1
  version=$(redis-server --version | sed 's/.* v=//; s/[^0-9].*//')
  [ "${version:-0}" -ge "$min_redis" ]
}

# The race detector needs cgo, hence a compiler and the C library's headers.
cc_ok() {
  { have cc || have gcc || have clang; } &&
    { [ "$(uname -s)" != Linux ] || [ -e /usr/include/stdlib.h ]; }
}

need_postgres() { [ -z "${ASIDE_TEST_POSTGRES:-}" ] && [ -z "$(postgres_dir)" ]; }
need_redis() { [ -z "${ASIDE_TEST_REDIS:-}" ] && ! redis_ok; }
satisfied() { ! need_postgres && ! need_redis && cc_ok; }

# as_root runs a command as root; asking for a password only at a terminal.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif have sudo && sudo -n true 2>/dev/null; then sudo -n "$@"
  elif have sudo && [ -t 0 ]; then sudo "$@"
  else return 1
  fi
}

install_apt() {
  local packages="$1" log
  log=$(mktemp)
  say "installing with apt-get:$packages"
  # Debian starts a service as soon as its package is unpacked, unless
  # policy-rc.d forbids it. We want the programs, not services.
  # shellcheck disable=SC2016
  if as_root sh -c '
      policy=/usr/sbin/policy-rc.d
      if [ ! -e "$policy" ]; then
        trap "rm -f $policy" EXIT INT TERM
        printf "#!/bin/sh\nexit 101\n" >"$policy" && chmod 755 "$policy"
      fi
      export DEBIAN_FRONTEND=noninteractive
      apt-get update -q && apt-get install -q -y --no-install-recommends "$@"
    ' sh $packages >"$log" 2>&1 </dev/null; then
    rm -f "$log"
  else
    tail -n 15 "$log" >&2
    rm -f "$log"
    say "apt-get could not install them (see above)"
  fi
}

install_brew() {
  say "installing with Homebrew:$1"
  # shellcheck disable=SC2086
  HOMEBREW_NO_AUTO_UPDATE=1 brew install --quiet $1 || say "Homebrew could not install them"
}

# answers tells whether something listens where the URL points; no URL is fine.
answers() {
  local address=${1##*@}
  [ -n "$1" ] || return 0
  address=${address#*://}
  address=${address%%/*}
  (exec 3<>"/dev/tcp/${address%:*}/${address##*:}") 2>/dev/null
}

# container starts (or wakes) one container and prints its address on loopback.
container() {
  local name=$1 port=$2
  shift 2
  docker start "$name" >/dev/null 2>&1 ||
    docker run --detach --name "$name" --publish "127.0.0.1::$port" "$@" >/dev/null || return 1
  docker port "$name" "$port/tcp" | head -n 1
}

until_ready() {
  local tries=0
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || return 1
    sleep 1
  done
}

use_docker() {
  local address lines=
  if need_postgres; then
    say "starting a PostgreSQL container (aside-postgres)"
    address=$(container aside-postgres 5432 --env POSTGRES_HOST_AUTH_METHOD=trust \
      postgres:16 -c fsync=off -c full_page_writes=off -c max_connections=300) || return 1
    until_ready docker exec aside-postgres pg_isready -h 127.0.0.1 -U postgres || return 1
    ASIDE_TEST_POSTGRES="postgres://postgres@$address/postgres?sslmode=disable"
    lines="$lines: \"\${ASIDE_TEST_POSTGRES:=$ASIDE_TEST_POSTGRES}\"
"
  fi
  if need_redis; then
    say "starting a Redis container (aside-redis)"
    address=$(container aside-redis 6379 redis:7 redis-server --save '' --appendonly no) || return 1
    until_ready docker exec aside-redis redis-cli ping || return 1
    ASIDE_TEST_REDIS="redis://$address/0"
    lines="$lines: \"\${ASIDE_TEST_REDIS:=$ASIDE_TEST_REDIS}\"
"
  fi
  printf '# Written by scripts/setup.sh, read by the Makefile. What is set already wins.\n%s' "$lines" >"$env_file"
  say "addresses written to $env_file"
  say "note: tests that kill or freeze a server need it installed here, and fail with containers alone"
}

# Containers started earlier count as long as they answer; their ports change
# when they are restarted.
if [ -f "$env_file" ]; then
  # shellcheck source=/dev/null
  . "./$env_file"
  if ! answers "${ASIDE_TEST_POSTGRES:-}" || ! answers "${ASIDE_TEST_REDIS:-}"; then
    unset ASIDE_TEST_POSTGRES ASIDE_TEST_REDIS
    rm -f "$env_file"
  fi
fi

have go || die "Go is missing: install Go 1.26 or newer (https://go.dev/dl/), then run this again"
satisfied && exit 0

if have apt-get; then
  packages=
  need_postgres && packages="$packages postgresql"
  need_redis && packages="$packages redis-server"
  cc_ok || packages="$packages gcc libc6-dev"
  if as_root true 2>/dev/null; then install_apt "$packages"
  else say "apt-get is here, but neither root nor sudo without a password"
  fi
elif have brew; then
  packages=
  need_postgres && packages="$packages postgresql@17"
  need_redis && packages="$packages redis"
  [ -z "$packages" ] || install_brew "$packages"
fi

if { need_postgres || need_redis; } && have docker && docker info >/dev/null 2>&1; then
  use_docker || say "the containers did not start"
fi

missing=
need_postgres && missing="$missing
  - PostgreSQL $min_postgres or newer, with initdb (Debian: postgresql, Fedora: postgresql-server, Homebrew: postgresql@17),
    or ASIDE_TEST_POSTGRES with the URL of a role that may create databases"
need_redis && missing="$missing
  - Redis $min_redis or newer (Debian: redis-server, Fedora and Homebrew: redis), or ASIDE_TEST_REDIS with its URL"
cc_ok || missing="$missing
  - a C compiler for the race detector (Debian: gcc libc6-dev, macOS: xcode-select --install)"
[ -z "$missing" ] || die "still missing, please install:$missing"
say "ready"
