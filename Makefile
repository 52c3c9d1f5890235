# make setup   what MetaOS needs, from Debian and PyPI
# make demo    a machine probed, its image built, booted and talked to
# make quick   the tests that take milliseconds
# make test    what continuous integration runs: lint, types, tests, some machines booted
# make test-all  that, and every machine and the slow tests
# make soak    damaged inputs by the ten thousand, then half an hour of echoes: SPACED=N FLOOD=N of
#              each machine, the former shared by COPIES=N of it
# make format  source code as `make test` wants it

PYTHON ?= python3
BIN := .venv/bin
JOBS ?= auto
SPACED ?= 1000000
FLOOD ?= 1000000
COPIES ?= 8

.PHONY: setup demo test test-all lint quick long boots rest soak format clean

setup:
	@PYTHON=$(PYTHON) sh tools/setup.sh

demo: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tools/demo.sh

test: lint quick long boots

test-all: test rest

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

quick: setup
	$(BIN)/pytest -q -n $(JOBS) -m "not long and not qemu and not slow and not soak"

long: setup
	$(BIN)/pytest -q -n $(JOBS) -m "long and not qemu and not slow and not soak"

boots: setup
	$(BIN)/pytest -q -n $(JOBS) -m "qemu and not slow and not soak"

rest: setup
	$(BIN)/pytest -q -n $(JOBS) -m "slow and not soak"

soak: setup
	$(BIN)/pytest -q -n $(JOBS) -m soak
	$(BIN)/python -m benchmarks.soak --spaced $(SPACED) --flood $(FLOOD) --copies $(COPIES)

format: setup
	$(BIN)/python tools/docs.py
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/metaos patterns fmt patterns

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
