# Every target builds .venv when it is missing, and installs again when pyproject.toml
# has changed. Pass options to pytest with ARGS: make test ARGS="-k engel -x".
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Processes that share the tests, a file at a time: most of their time is compilation,
# which takes one core. WORKERS=0 runs all in one process, for a debugger.
WORKERS ?= 2

# `python` comes first: where pyenv manages it, .python-version selects it.
find_python = for name in python python3.12 python3.13 python3; do \
  "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null \
  && command -v "$$name" && break; done
PYTHON ?= $(shell $(find_python))

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-slow lint format bench docs clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' Makefile

quickstart: $(VENV)/stamp-run ## Fit the first example; pictures go to build/quickstart
	MPLBACKEND=Agg $(BIN)/python notebooks/01_getting_started.py

test: $(VENV)/stamp-tests ## Run the tests, without the slow ones
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-slow: $(VENV)/stamp-tests ## Run the slow tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m slow $(ARGS)

lint: $(VENV)/stamp-lint ## Check style, formatting and types; changes nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/stamp-lint ## Format, and mend what ruff can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/stamp-peers ## Run every benchmark
	@for script in $(wildcard benchmarks/*.py); do \
	  echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

docs: $(VENV)/stamp-docs ## Build the site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## Remove the environment and everything that was built
	rm -rf $(VENV) build dist site .jax_cache .pytest_cache .ruff_cache .hypothesis

# --group needs pip 25.1, and a new environment starts with the pip of its Python.
$(VENV)/stamp-python: .python-version
	@test -n "$(PYTHON)" || { echo "No Python 3.12 or newer was found." \
	  "Install one, or name it: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	touch $@

$(VENV)/stamp-run: $(VENV)/stamp-python pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[plots]'
	touch $@

$(VENV)/stamp-tests $(VENV)/stamp-lint $(VENV)/stamp-docs $(VENV)/stamp-peers: \
$(VENV)/stamp-%: $(VENV)/stamp-python pyproject.toml
	$(BIN)/python -m pip install --quiet -e '.[plots,io,formula]' --group $*
	touch $@
