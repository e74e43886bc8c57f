# Everything runs in .venv, which is made on first use; no environment needs to be active.
.PHONY: demo test lint clean

FITS := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/installed

# A cluster that happens to run, or to be named, has no part in these.
export RAY_ADDRESS := local
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

demo: $(STAMP)
	$(BIN)/python jobs/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && "$(PYTHON)" -c '$(FITS)' || { echo "error: Python 3.11 or 3.12 is" \
		"needed$(if $(PYTHON),; $(PYTHON) is another); name one: make PYTHON=/path/to/python3.11" \
		>&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf .venv *.egg-info runs/demo data/sample .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
