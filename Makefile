# `make run` starts the app, `make test` runs every check. Both set up what they need first, and only what is missing.
# Needs Python 3.11 and Node.js 20 or newer.

VENV := .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 7860
SPACE ?= out/space
# The first of these that really is Python 3.11 (a pyenv shim exists for versions that are not active).
PYTHON ?= $(shell for p in python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Two workers on two cores: the suite is many small torch calls, which one thread each serves better than two threads
# in one process. A file's tests share fixtures, so a file stays on one worker.
PYTEST_ARGS ?= -n 2 --dist loadfile

.DELETE_ON_ERROR:
.PHONY: help run test lint format space audit setup setup-dev clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 18

run: setup  ## start the app on http://127.0.0.1:7860 (HOST=, PORT= to change)
	@$(BIN)/python -m app serve --host $(HOST) --port $(PORT)

test: lint  ## lint, types and the whole test suite, Python and JavaScript
	npm test --silent
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: setup-dev  ## lint, formatting and types, without the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile
	$(BIN)/pyright
	npm run --silent --if-present lint

format: setup-dev  ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	npm run --silent --if-present format

space: setup  ## the folder that a Hugging Face Space is pushed from (SPACE= to change where)
	@$(BIN)/python -m recipes.space --out $(SPACE)

# Both look-ups run even where one fails. --strict: a package that nobody could tell about is a failure, not a pass.
audit: setup-dev  ## known vulnerabilities of everything that is pinned (asks PyPI and npm)
	$(BIN)/python -m pip check
	npm ls --all >/dev/null
	@status=0; \
	$(BIN)/pip-audit --strict --progress-spinner off --no-deps --disable-pip \
		--requirement requirements-dev.txt --requirement requirements-build.txt --requirement constraints.txt \
		|| status=1; \
	npm audit || status=1; \
	exit $$status

setup: $(VENV)/.runtime app/static/vendor/.stamp  ## only install what running needs

setup-dev: $(VENV)/.dev app/static/vendor/.stamp  ## only install what testing needs

clean:  ## remove everything that set-up made
	rm -rf $(VENV) node_modules app/static/vendor

# Each stamp is newer than the files that decide what is installed, so a second run does nothing.
$(VENV)/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "Python 3.11 was not found. Install it, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.txt constraints.txt | $(VENV)/pyvenv.cfg
	@echo "Installing the Python packages (once; a few minutes, about 3 GB on disk) ..."
	@$(PIP_INSTALL) --requirement requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt constraints.txt | $(VENV)/pyvenv.cfg
	@echo "Installing the Python packages (once; a few minutes, about 3 GB on disk) ..."
	@$(PIP_INSTALL) --requirement requirements-dev.txt
	@touch $(VENV)/.runtime $@

node_modules/.stamp: package.json package-lock.json
	@command -v npm >/dev/null || { echo "npm was not found. Install Node.js 20 or newer." >&2; exit 1; }
	npm ci --no-audit --no-fund
	@touch $@

app/static/vendor/.stamp: node_modules/.stamp
	npm run --silent vendor
	@touch $@
