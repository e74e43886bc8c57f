# Everything runs in .venv, which is made on first use; no environment needs to be active.
.PHONY: demo test test-fast coverage test-on docs lint system-packages clean

FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/installed

# A cluster that happens to run, or to be named, has no part in these.
export RAY_ADDRESS := local
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

demo: $(STAMP)
	$(BIN)/python jobs/demo.py

# A process a core: those that start clusters keep it busy. Each has a Ray of its own.
TEST_PROCESSES ?= 2

test: $(STAMP)
	$(BIN)/python -m pytest -n $(TEST_PROCESSES)

# What needs no cluster, server, browser or job: for every change, in a minute or two.
test-fast: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not slow"

# Which lines the fast lane runs: a table of the files that it doesn't run wholly.
coverage: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m "not slow" --cov --cov-report=term

# The fast lane on another Python, in an environment of its own: make test-on OTHER=python3.13
test-on:
	@$(OTHER) -c '$(FITS)' || { echo "error: name a Python 3.11 to 3.14: OTHER=$(OTHER)" >&2; exit 2; }
	$(OTHER) -m venv .venv-other
	.venv-other/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[dev]'
	.venv-other/bin/python -m pytest -n 2 -m "not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(DOCS) --site-dir $$(mktemp -d)

# The documentation's site, in site/.
DOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
docs: $(STAMP)
	$(DOCS)

# Servers and a browser that tests start themselves; without them those tests are skipped.
system-packages:
	@missing=$$(for p in $$(sed 's/#.*//' apt-packages.txt); do \
		dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	test -n "$$missing" || exit 0; \
	if ! command -v apt-get >/dev/null; then reason="there is no apt-get"; \
	elif test "$$(id -u)" = 0; then as=""; \
	elif sudo -n true 2>/dev/null; then as="sudo -n"; \
	else reason="neither root nor sudo without a password"; fi; \
	if test -z "$$reason"; then \
		$$as apt-get update -qq && $$as env DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends $$missing && exit 0; \
		reason="apt-get failed"; fi; \
	echo "warning: $$reason; tests are skipped that need:" $$missing >&2

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && "$(PYTHON)" -c '$(FITS)' || { echo "error: Python 3.11 to 3.14 is" \
		"needed$(if $(PYTHON),; $(PYTHON) is another); name one: make PYTHON=/path/to/python3.11" \
		>&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the engine and what it needs into .venv, once:" \
		"minutes, most of them PyTorch and Ray"
	@{ $(BIN)/python -m pip install --disable-pip-version-check --no-color \
		-c constraints.txt -e '.[dev]' || echo "pip failed"; } | awk '\
		/^ *Downloading/ { printf "\r  %d packages downloaded", ++n; fflush() } \
		/^Installing collected/ { printf "; unpacking"; fflush() } \
		/^pip failed$$/ { failed = 1 } \
		END { print ""; exit failed }'
	@touch $@

clean:
	rm -rf .venv .venv-other *.egg-info runs/demo data/sample site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
