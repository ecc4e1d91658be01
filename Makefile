# Each target does its own set-up and is quick the second time.
PYTHON ?= python3
BIN := .venv/bin
# bytecode is kept, so that the second process reads what the first has compiled
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check bench docs page setup setup-dev setup-all

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup ## train a small GPT, ask it something, walk through the answer
	$(BIN)/glassformer demo

test: page ## run the quick tests
	$(PYTEST) -m "not heavy" -n 2 --dist loadfile --no-loadscope-reorder --durations=10

test-all: setup-all test ## run every test, the long ones and those of drawn examples one by one
	EXAMPLES_TIMES=10 $(PYTEST) -m "heavy or hypothesis"

check: page ## lint, formatting, types, import directions
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright
	$(BIN)/lint-imports
	$(BIN)/python scripts/api.py --check
	$(BIN)/python scripts/page.py --check

bench: setup-dev ## measure speed, memory and quality against named peers
	$(BIN)/python -m bench

page: setup-dev web/openapi.json ## build the web page into the package, if it has changed
	@$(BIN)/python scripts/page.py

web/openapi.json: $(shell find src/glassformer/server -name '*.py') | setup-dev
	@$(BIN)/python scripts/api.py

docs: page ## build the documentation, running every example in it
	@echo "Every example is run: about five minutes."
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo "The documentation is at docs/_build/html/index.html"

setup:
	@$(PYTHON) scripts/setup.py

setup-dev:
	@$(PYTHON) scripts/setup.py dev

setup-all:
	@$(PYTHON) scripts/setup.py dev parity readers
