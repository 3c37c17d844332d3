# Everything a developer types. `make help` lists it.
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.installed
PACKAGES := sidecar clients/python/statesidecar tests examples bench tools
STUBS := clients/python/statesidecar/v1
SEEDS ?= 200
SEED ?=

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements/setup.txt requirements/dev.txt pyproject.toml clients/python/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/setup.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/dev.txt requirements/setup.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . -e clients/python
	@touch $@

setup: $(STAMP) ## make .venv with all that running, testing and developing need

run: setup ## the daemon on embedded defaults, in the foreground, until Ctrl-C
	@exec $(BIN)/state-sidecar serve

protos: setup ## regenerate the stubs
	$(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=clients/python --pyi_out=clients/python \
		--grpc_python_out=clients/python protos/statesidecar/v1/*.proto

.PHONY: help setup run protos
