# make setup   what MetaOS needs, from Debian and PyPI
# make demo    a machine probed, its image built, booted and talked to
# make test    everything that continuous integration runs
# make soak    20,000 damaged inputs for each reader of machine descriptions, 50,000 patterns
# make format  source code as `make test` wants it

PYTHON ?= python3
BIN := .venv/bin
JOBS ?= auto

.PHONY: setup demo test lint quick boots soak format clean

setup:
	@PYTHON=$(PYTHON) sh tools/setup.sh

demo: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tools/demo.sh

test: lint quick boots

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

quick: setup
	$(BIN)/pytest -q -n $(JOBS) -m "not qemu and not slow and not soak"

boots: setup
	$(BIN)/pytest -q -n $(JOBS) -m "(qemu or slow) and not soak"

soak: setup
	$(BIN)/pytest -q -n $(JOBS) -m soak

format: setup
	$(BIN)/python tools/docs.py
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/metaos patterns fmt patterns

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
