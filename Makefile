# Two commands do everything on a fresh machine: `make demo` runs the main job, `make test` passes the tests.
# Every target does the set-up it needs; a set-up that is done already costs nothing.

PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .boot/bin/uv
RUN := .venv/bin/python
LOCK_FLAGS := --group local --group dev --generate-hashes --python-version 3.11 --universal

.DEFAULT_GOAL := help
.PHONY: help setup demo up test lint format lock clean chaos mutants wordpress judges

help: ## what there is to do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.synced ## make .venv from requirements.lock

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv .boot || { echo "python3-venv is needed: install it with your package manager"; exit 1; }
	@.boot/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.synced: requirements.lock | $(UV)
	@test -x $(RUN) || $(UV) venv --quiet --python $(PYTHON) .venv
	@$(UV) pip sync --quiet --require-hashes --python .venv requirements.lock
	@touch $@

demo: setup ## a brief through all seven steps to published pages, with nothing but this machine
	@$(RUN) starter.py demo

up: setup ## Postgres, Temporal with its UI, the sandbox and a worker, until Ctrl-C
	@$(RUN) starter.py up

judges: .judges/.installed ## other people's HTML and JSON-LD checkers for the tests (npm and java)

# The judges are installed where they can be; where they can't, their tests skip and say so.
.judges/.installed: tests/judges/packages.txt
	@command -v npm >/dev/null && command -v java >/dev/null || { echo "judges: npm and java are needed"; exit 1; }
	@npm install --silent --no-save --no-package-lock --no-audit --no-fund --fetch-retries=1 --fetch-timeout=30000 \
		--prefix .judges $$(cat tests/judges/packages.txt)
	@touch $@

test: setup ## every test, on a real Postgres and a real Temporal server
	@$(MAKE) --silent judges >/dev/null 2>&1 || echo "unjudged"
	@$(RUN) -m pytest -n 2 --dist loadfile || { \
		echo "what failed beside the others is run once more, alone:"; \
		$(RUN) -m pytest --last-failed --last-failed-no-failures none; }

lint: setup ## style, types, import rules
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy .
	@.venv/bin/lint-imports

format: setup ## put every file in the one form
	@.venv/bin/ruff check --fix --quiet .
	@.venv/bin/ruff format --quiet .

lock: $(UV) ## write requirements.lock anew from pyproject.toml
	@$(UV) pip compile --quiet pyproject.toml $(LOCK_FLAGS) -o requirements.lock

clean: ## stop nothing, remove what set-up and runs left in this folder
	@rm -rf .boot .venv .judges .mypy_cache .pytest_cache .ruff_cache .hypothesis

chaos: setup ## faults through real workers: the cells, then ten minutes under load, with the report
	@$(RUN) -m pytest tests/chaos
	@$(RUN) -m tests.chaos.run --minutes 10

wordpress: setup ## the tests against a real WordPress; installs Debian's packages of it first, which needs root
	@$(RUN) -m tests.wordpress.packages
	@INFIN8_WORDPRESS_REQUIRED=1 $(RUN) -m pytest tests/wordpress tests/workflows/test_wordpress.py

mutants: setup ## seeded bugs, each of which some test has to catch
	@$(RUN) -m tests.mutants.run
