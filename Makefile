# Everything a developer types. `make help` lists it.
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.installed
PROTOC = $(BIN)/python -m grpc_tools.protoc -Iprotos
SEEDS ?= 2000
SEED ?=
FILLS ?= 1000000
CACHE ?= valkey
SECONDS ?= 600
TIERS ?= embedded
MESSAGES ?= 1000000
KILLS ?= 100
EVENTS ?= 100000
OPERATIONS ?= 1000000
FUZZ_SECONDS ?= 120
# Processes that share the tests: most of them wait for servers.
JOBS ?= 4

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements/setup.txt requirements/dev.txt pyproject.toml clients/python/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/setup.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt requirements/setup.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . -e clients/python
	$(BIN)/python -m compileall -q sidecar clients/python/statesidecar
	@touch $@

setup: $(STAMP) ## make .venv with all that running, testing and developing need

SERVERS := .servers/.installed
$(SERVERS): requirements/emulators.txt servers/debian.py | $(STAMP)
	$(BIN)/python -m servers.debian
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .servers/emulators
	$(BIN)/uv pip sync --quiet --python .servers/emulators/bin/python --require-hashes requirements/emulators.txt
	@touch $@

servers: setup $(SERVERS) ## the backend servers that tests and benchmarks start, into .servers

run: setup ## the daemon on embedded defaults, in the foreground, until Ctrl-C
	@exec $(BIN)/state-sidecar serve

NODE_MODULES := clients/typescript/node_modules/.package-lock.json
$(NODE_MODULES): clients/typescript/package-lock.json
	cd clients/typescript && npm ci --ignore-scripts --no-audit --no-fund --silent && touch node_modules/.package-lock.json

protos: setup $(NODE_MODULES) ## regenerate the stubs of all clients (with Go and Node)
	@$(PROTOC) --python_out=clients/python --pyi_out=clients/python --grpc_python_out=clients/python \
		protos/statesidecar/v1/*.proto
	cd clients/go && PATH="$$PATH:/usr/local/go/bin" ../../$(BIN)/buf generate
	cd clients/typescript && ../../$(BIN)/buf generate

fmt: setup ## format and mend what can be mended
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/buf format --write protos

check: setup ## format, lint, types, layers, proto lint and breaking, fresh stubs, documents; no servers
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/buf format --diff --exit-code protos
	$(BIN)/buf lint protos
	$(BIN)/python tools/check_breaking.py
	$(BIN)/python tools/check_stubs.py
	$(BIN)/lint-imports --no-cache | tail -n 3
	$(BIN)/mypy sidecar clients/python/statesidecar examples bench servers tools tests
	$(BIN)/pytest -q tests/tidy

test: servers ## every test, with what it needs
	CI=$${CI:-true} $(BIN)/pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder

sim: setup ## seeded simulation (SEEDS=2000, or SEED=7 to replay one)
	$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

race: servers ## leased fills raced over a real cache (FILLS=1000000 CACHE=valkey)
	$(BIN)/python -m tests.race --fills $(FILLS) --cache $(CACHE)

chaos: servers ## three daemons under faults, their histories checked (SECONDS=600 SEED=7)
	$(BIN)/python -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

outage: servers ## how outages are answered: figures, flaps, kills with buffered writes, sessions
	$(BIN)/python -m tests.outage figures
	$(BIN)/python -m tests.outage kills
	$(BIN)/python -m tests.outage sessions
	$(BIN)/python -m tests.outage flaps

outbox: servers ## a million messages while their owners are killed; latency; a poisonous key (MESSAGES=100000 KILLS=100)
	$(BIN)/python -m tests.outbox run --messages $(MESSAGES) --kills $(KILLS)
	$(BIN)/python -m tests.outbox latency
	$(BIN)/python -m tests.outbox poison

watch: servers ## changes watched through cuts and kills, their histories checked (EVENTS=100000)
	$(BIN)/python -m tests.watch --events $(EVENTS)

wrong-keys: servers ## operations cut short through proxies whose replies are late: no reply is another key's (OPERATIONS=1000000)
	$(BIN)/python -m tests.security.wrong_keys --operations $(OPERATIONS)

fuzz: setup ## decoders under a coverage-guided fuzzer, hostile bytes to a daemon's port (FUZZ_SECONDS=120 for each)
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)
	$(BIN)/python -m tests.fuzz wire --seconds $(FUZZ_SECONDS)

schemas: servers ## a rolling upgrade over three schemas, and a migration that is killed a hundred times
	$(BIN)/python -m tests.schemas rolling
	$(BIN)/python -m tests.schemas killed

bench: servers ## side-by-side benchmarks: a table, and bench/results/*.json
	$(BIN)/python -m bench

demo: servers ## real dialogues through a daemon that is killed again and again (TIERS=servers: and its servers)
	$(BIN)/python -m examples.dialogues --tiers $(TIERS)

image: setup ## the container image without an engine, twice, into dist/, with its figures
	$(BIN)/python -m tests.image

clean: ## remove what was made here
	rm -rf $(VENV) .servers clients/typescript/node_modules clients/typescript/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help setup servers run protos fmt check test sim race chaos outage outbox watch wrong-keys fuzz schemas bench demo image clean
