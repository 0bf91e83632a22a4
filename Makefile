# make grow    build .venv if needed, then grow the family tree (RECIPE=seedling for a quick look)
# make test    build .venv if needed, then run the tests
# make check   style and types
# make cover   the tests again, with the lines they reach
# make clean   remove .venv and caches; what is grown stays in runs/

PYTHON ?= $(shell command -v python3.11 || command -v python3)
RECIPE ?= laptop
BIN := .venv/bin

.PHONY: grow test check cover clean

grow: .venv/grow.stamp
	@$(BIN)/regrow run $(RECIPE) $(ARGS)

test: .venv/test.stamp
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

cover: .venv/test.stamp
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --cov=regrow --cov-report=term:skip-covered $(ARGS)

check: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage build dist *.egg-info

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "regrow needs Python 3.11: make grow PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv

# Python compiles what it imports by itself; compiling all of torch takes longer than the download.
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check

.venv/grow.stamp: pyproject.toml | .venv/bin/python
	$(PIP) -e .
	@touch $@

.venv/test.stamp: pyproject.toml | .venv/bin/python
	$(PIP) -e '.[dev]'
	@touch $@ .venv/grow.stamp
