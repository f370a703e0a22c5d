# Two commands for a new user: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
BIN := .venv/bin
CODE := amc_hw benchmarks docs examples profilers tests

# What Python compiles is kept, also where a container's environment says not to: else every process that is started
# compiles the libraries again, which takes LiteRT's converter six of its eleven seconds.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test setup lint pytest docs clean

demo: setup
	$(BIN)/amc-hw compress --latency 0.3x --run runs/demo
	@echo "open runs/demo/report.html in a browser to see what was done"

# The checks use one processor, the tests two: side by side none of them waits.
test: setup
	@$(MAKE) --no-print-directory --jobs=2 lint pytest

pytest: setup
	$(BIN)/python -m pytest -n 2

lint: setup
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

# Without the variable, the theme prints what its authors think of the next version of MkDocs.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html in a browser"

setup: .venv/.ready

# uv installs in a fraction of pip's time; where it cannot (no wheel, another index), pip does the same. Python compiles
# the converter when it is first imported, which takes longer than most commands: that goes on beside them.
.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "amc-hw needs Python 3.10 or newer; name one with: make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q uv || true
	$(BIN)/uv pip install -q --system-certs --python $(BIN)/python -e '.[dev]' || $(BIN)/python -m pip install -q -e '.[dev]'
	@touch $@
	@$(BIN)/python -c 'import litert_torch' >/dev/null 2>&1 &

clean:
	rm -rf .venv site
