# The everyday commands. Every target says what it does in "make help".
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help check fmt lint build test test-openhim soak bench demo fuzz

LINTER := go tool -modfile=tools/go.mod golangci-lint
FUZZTIME ?= 60s
SOAK_KILLS ?= 1000

help: ## Show this list.
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 15

check: fmt lint build test ## The gate: format, lint, build, race tests.

fmt: ## Format the code.
	$(LINTER) fmt ./...

lint: ## Lint, and show that the import rules are held.
	$(LINTER) run ./...
	cd test/openhim && go tool -modfile=../../tools/go.mod golangci-lint run ./...
	cd test/openhim/store && go tool -modfile=../../../tools/go.mod golangci-lint run ./...
	tools/check-import-rules.sh

build: ## Build the static binary bin/mediator.
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/mediator ./mediator

# SQLite is C translated to Go, and not ours: watched by the race detector it takes four times as long, and all tests with it.
UNWATCHED := -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false

test: ## Run all tests with the race detector. No network, no services.
	go test -race $(UNWATCHED) -shuffle=on -timeout 20m ./...

test-openhim: ## Try the mediator on a real OpenHIM. Needs node, npm and, the first time, the network.
	cd test/openhim && go test -v -count=1 -timeout 8m ./...

soak: ## Kill the program in SOAK_KILLS (1000) runs at random instants, a ninth on PostgreSQL. SOAK_SEED=n does those from seed n on again.
	SOAK_KILLS=$(SOAK_KILLS) go test -count=1 -v -timeout 0 -run '^TestAKillAtAnyInstantLosesNothingAndDoublesNothing$$/./^at_random$$' ./mediator

bench: ## Measure memory and time of a million values, and write docs/benchmarks.md.
	go run ./internal/bench -write docs/benchmarks.md

demo: ## Watch a month of CHT totals arrive in a DHIS2, on stand-ins.
	go run ./mediator demo

fuzz: ## Run each fuzz test for FUZZTIME (60s).
	@grep -rnoE --include='*_test.go' '^func Fuzz\w+' . | sed -E 's|/[^/]*:[0-9]+:func | |' | sort | while read -r package name; do \
		echo "$$package $$name"; \
		go test -run '^$$' -fuzz "^$$name$$" -fuzztime $(FUZZTIME) "$$package"; \
	done
