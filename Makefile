# Everything a developer of Aside runs. `make` alone lists the targets: the
# text after ## is what it prints.

# The demo program; its flags: -serve keeps it running behind a web page.
DEMO     ?= ./examples/places/cmd/demo
FUZZTIME ?= 60s
SOAK     ?= 30m

# Every test binary starts a PostgreSQL of its own, so more than four at once
# only makes them slow.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
P     ?= $(shell [ $(CORES) -gt 4 ] && echo 4 || echo $(CORES))

TOOL := go tool -modfile=tools/go.mod

# Where setup had to use containers it left their addresses in .aside-env.
WITH_SERVERS := set -a; [ ! -f .aside-env ] || . ./.aside-env; set +a;

.DEFAULT_GOAL := help
.PHONY: soak-model soak-faults help setup demo serve test check bench prove fuzz soak generate verify fmt

help: ## list the targets
	@echo 'Usage: make TARGET'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## make sure Go, a C compiler, PostgreSQL and Redis are here; install what is missing
	@scripts/setup.sh

demo: setup ## run the demo once, on private servers, and print what it shows
	@$(WITH_SERVERS) go run $(DEMO)

serve: setup ## run the demo and keep it open in the browser
	@$(WITH_SERVERS) go run $(DEMO) -serve

test: setup ## build everything, vet, and run all tests with the race detector on real servers
	go build ./...
	go vet ./...
	@echo 'go test -race: cachedrepo by itself, for some of its tests are about deadlines, then the others'
	@$(WITH_SERVERS) go test -race -vet=off -timeout 15m ./cachedrepo
	@$(WITH_SERVERS) go test -race -vet=off -timeout 15m -p $(P) $$(go list ./... | grep -v /cachedrepo$$)
	cd soak && go vet ./...
	@echo 'cd soak && go test -race -count 1 ./...'
	@$(WITH_SERVERS) cd soak && go test -race -count 1 -timeout 10m ./...

check: ## format, vet, staticcheck, generated code fresh, go.mod tidy
	@out=$$($(TOOL) gofumpt -l .) || exit 1; \
	  [ -z "$$out" ] || { echo "not formatted, run make fmt:"; echo "$$out"; exit 1; }
	go vet ./...
	$(TOOL) staticcheck ./...
	@$(MAKE) --no-print-directory verify
	go mod tidy -diff
	cd soak && go vet ./... && go tool -modfile=../tools/go.mod staticcheck ./... && go mod tidy -diff

bench: setup ## benchmark the decorators; compare ratios between lines, not times between machines
	@echo 'Ratios within one run count; absolute times belong to this machine.'
	@$(WITH_SERVERS) go test -run '^$$' -bench . -benchmem ./cachedrepo/...

prove: setup ## take each rule of docs/proof.md out and see its tests fail; RULE=regexp for some
	@$(WITH_SERVERS) go run ./internal/prove -run '$(RULE)'

fuzz: setup ## run every fuzz target for FUZZTIME (60s) each
	@$(WITH_SERVERS) FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

soak: setup ## the model check and the soak under faults, side by side for SOAK (30m), then 300 killed writers
	@$(MAKE) --no-print-directory -j 2 soak-model soak-faults
	@$(WITH_SERVERS) cd soak && ASIDE_SOAK=$(SOAK) go test -race -timeout 0 -count 1 -v -run 'Killed.*Soak$$' ./...

soak-model:
	@ASIDE_SOAK=$(SOAK) go test -timeout 0 -count 1 -v -run Soak ./cachedrepo/internal/modelcheck

soak-faults:
	@$(WITH_SERVERS) cd soak && ASIDE_SOAK=$(SOAK) go test -race -timeout 0 -count 1 -v -run '^TestSoak$$' ./...

generate: ## write generated code anew
	go generate ./...

verify: ## fail if go generate changes anything
	@scripts/verify.sh

fmt: ## format all Go code with gofumpt
	@$(TOOL) gofumpt -l -w .
