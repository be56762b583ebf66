# Everything runs on private servers of its own (devstack), on free ports, gone afterwards.
.DEFAULT_GOAL := help
.PHONY: help dev test lint telemetry contract clients chaos impressions bench soak scale fuzz memcheck settings events picture alerts

CARGO ?= cargo
# Always built together, so that cargo chooses the same features of their dependencies each time and compiles
# these once.
SERVICES = -p devstack -p api-service -p worker-service

help: ## Lists these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 20

# The servers are installed while the compiler runs.
dev: ## Starts the whole stack and both services; Ctrl-C ends all of it (API_PORT moves it)
	@tools/step "what compiling needs" devstack/install compiler
	@tools/step "servers" devstack/install & installing=$$!; \
	  tools/step "build" $(CARGO) build --locked --bins $(SERVICES); built=$$?; \
	  wait $$installing || { echo "make: the servers could not be installed, as told above; \`devstack/install\` tries that alone" >&2; exit 1; }; \
	  exit $$built
	@DEVSTACK_BINARIES=$(CURDIR)/target/debug exec target/debug/devstack dev

test: ## Runs every test, against real servers (TESTS="-E 'package(shared)'" chooses some)
	@tools/step "what compiling needs" devstack/install compiler
	@devstack/install
	@tools/step "tests" tools/test $(TESTS)

# 91,711 readings of 21 real machines, each posted twice.
telemetry: ## Sends a file of real readings through a running `make dev`, and checks the result
	@$(CARGO) build --bins $(SERVICES)
	@. target/dev/env && target/debug/devstack replay devstack/tests/data/telemetry.jsonl.gz

# The tools of Python stay in target/, in the versions of requirements.txt.
contract: ## Compares thousands of generated answers of the API with its document (CONTRACT_SECONDS, CONTRACT_SEED)
	@devstack/install
	@$(CARGO) build --bins $(SERVICES)
	@python3 -m venv target/contract
	@target/contract/bin/pip install --quiet --disable-pip-version-check -r api-service/tests/contract/requirements.txt
	@target/debug/devstack exec -- target/contract/bin/python api-service/tests/contract/run.py

# Installs every client in target/clients, in the versions of the files in clients/.
clients: ## Runs real clients (SDKs, libraries, commands, forwarders) against a stack of its own, and prints a table
	@devstack/install
	@$(CARGO) build --locked --bins $(SERVICES)
	@python3 -m venv target/clients/venv
	@target/clients/venv/bin/pip install --quiet --disable-pip-version-check -r clients/python/requirements.txt
	@target/debug/devstack exec -- target/clients/venv/bin/python clients/run.py

chaos: ## Breaks everything that can be broken while load runs, and checks the promises (CHAOS_SECONDS, CHAOS_SEED)
	@devstack/install
	@$(CARGO) build --bins $(SERVICES) -p chaos
	@DEVSTACK_BINARIES=$(CURDIR)/target/debug target/debug/chaos

# 60,000 impressions of 2,200 campaigns, each posted twice. The file is made of a package, and not kept.
impressions: ## Posts real impressions to capped campaigns while everything is killed, and counts (CAP, CHAOS_SEED)
	@devstack/install
	@$(CARGO) build --locked --bins $(SERVICES)
	@test -e target/impressions.csv || tools/impressions
	@DEVSTACK_BINARIES=$(CURDIR)/target/debug target/debug/devstack exec -- python3 chaos/impressions.py

# devstack's Java compiles quickly and not well, because tests start it often; here it has the time to
# compile well, which is what a broker does that runs for longer than a test.
bench: ## Measures everything beside its ceiling (ROW=post,batch,read,worker,visible,backlog,lone,start,api,tokens,states,growth,expire,pooler,ads,commands,peers)
	@devstack/install
	@bench/install
	@$(CARGO) build --release --locked --bins $(SERVICES) -p bench
	@DEVSTACK_BINARIES=$(CURDIR)/target/release \
	  DEVSTACK_JAVA_OPTS="$${DEVSTACK_JAVA_OPTS:--XX:TieredStopAtLevel=4 -Xmx1g}" target/release/bench

soak: ## Runs for an hour at 1,000 events/s with short retention, and reports what grows (SOAK_SECONDS)
	@devstack/install
	@bench/install
	@$(CARGO) build --release --locked --bins $(SERVICES) -p bench
	@DEVSTACK_BINARIES=$(CURDIR)/target/release \
	  DEVSTACK_JAVA_OPTS="$${DEVSTACK_JAVA_OPTS:--XX:TieredStopAtLevel=4 -Xmx1g}" target/release/bench soak

# `BENCH_REPORT=target/bench/report.json make scale` takes the figures of a run of `make bench`.
scale: ## Writes bench/figures.json and the tables of docs/scale.md and docs/performance.md again (BENCH_REPORT)
	@$(CARGO) run --quiet --locked -p bench -- model --write

# Needs a nightly toolchain and `cargo install cargo-fuzz`; what it finds lies in fuzz/libfuzzer/artifacts.
FUZZ_SECONDS ?= 60
fuzz: ## Runs every fuzz target for FUZZ_SECONDS (60), from its corpus
	@for target in event cloud_event token topic content; do \
	  mkdir -p target/fuzz/$$target; \
	  $(CARGO) +nightly fuzz run --fuzz-dir fuzz/libfuzzer --sanitizer none $$target \
	    target/fuzz/$$target fuzz/corpus/$$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

memcheck: ## Runs the unsafe code (two files of shared/src/kafka) under valgrind, on records of any bytes
	@devstack/install
	@$(CARGO) build --bins $(SERVICES)
	@tools/memcheck

settings: ## Writes docs/settings.md again, from --help of both services
	@$(CARGO) build --bins $(SERVICES)
	@DEVSTACK_BINARIES=$(CURDIR)/target/debug target/debug/devstack settings

events: ## Writes docs/events.md again, from what the domains publish and consume
	@$(CARGO) build --bins $(SERVICES)
	@target/debug/worker-service events > docs/events.md.new && mv docs/events.md.new docs/events.md

picture: ## Draws docs/architecture.svg again, with docs/architecture.svg.py
	@python3 docs/architecture.svg.py

alerts: ## Tests the alert rules (needs promtool, Debian's package prometheus)
	promtool check rules observe/prometheus/rules.yml
	promtool test rules observe/prometheus/tests/*.yml

lint: ## Checks formatting, code, images, workflows, Terraform and dependencies
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	tools/lint
