# CoreFn's commands. The work is done by scripts/; each of them can be run without make as well.
.DEFAULT_GOAL := help
.PHONY: help setup build release module deb demo down test test-repeat proof chaos fuzz bench soak nginx-tests fmt lint book doc clean

CARGO ?= cargo

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: ## Install what building and running needs (Debian 12, as root)
	@scripts/setup

build: ## Build the nginx module and the programs, in release mode
	@scripts/setup --build
	$(CARGO) build --release --workspace --locked

release: ## Build what is released, the same bytes wherever it is built, with a bill of materials, into target/dist
	@scripts/setup --build
	@scripts/release

module: ## Build the module for the nginx NGINX, from the sources SOURCE, into target/module
	@scripts/setup --module
	@scripts/module "$(NGINX)" "$(SOURCE)"

deb: ## Build packages for Debian, into target/deb
	@scripts/setup --deb
	@scripts/deb

demo: ## From nothing to an answer: set up, build, start, push examples/hello, call it
	@scripts/demo

down: ## Stop the demo and remove its containers (PURGE=1: its images and repositories too)
	@PURGE=$(PURGE) scripts/down

test: ## The gate: what must pass before a change lands, in minutes
	@scripts/test

test-repeat: ## The end-to-end tests N times (20), half of them beside NOISE busy loops (2)
	@N=$(N) NOISE=$(NOISE) scripts/test-repeat

proof: ## All that takes longer, with a table of what was shown (ONLY=chaos,stall: only these)
	@ONLY=$(ONLY) scripts/proof

chaos: ## Break everything in turn under traffic for CHAOS_SECONDS (300); CHAOS_SEED repeats a run
	@scripts/chaos

fuzz: ## Fuzz every parser, each for FUZZ_SECONDS (180)
	@scripts/fuzz

bench: ## Measure CoreFn against plain nginx and bare Docker (QUICK=1: two minutes; BENCH_PEER=URL: and another)
	@scripts/bench

soak: ## A million requests of every kind against one worker, whose memory must stay flat
	@SOAK=1000000 ONLY=soak scripts/proof

nginx-tests: ## nginx's own tests, with and without the module (NGINX_TESTS=/path/to/a/checkout)
	@scripts/nginx-tests "$(NGINX_TESTS)"

fmt: ## Format the sources
	$(CARGO) fmt --all
	$(CARGO) fmt --all --manifest-path stacks/rust/Cargo.toml

lint: ## Formatting, clippy and shellcheck
	@scripts/setup --build
	@scripts/lint

book: ## Make a site of the papers, in target/book/site
	@scripts/book

doc: ## Build the documentation of the code into target/doc
	@scripts/setup --build
	$(CARGO) doc --workspace --no-deps --locked

clean: ## Remove what was built; the demo's state stays
	$(CARGO) clean
