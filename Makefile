# Everything runs in .venv, made from nothing but Python >= 3.11 (`make PYTHON=python3.12` picks another).
PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin

.PHONY: setup demo test check bench format lock clean

# The stamp is newer than what it was made from: a second call installs nothing.
setup: .venv/.installed

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "facemill needs Python >= 3.11: call make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	$(BIN)/facemill demo --out demo-out

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m benchmarks --out bench-out

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Names, versions and hashes; no addresses.
lock: setup
	$(BIN)/uv pip compile pyproject.toml --universal --all-extras --generate-hashes --no-emit-index-url --no-header \
		--upgrade --output-file requirements.lock

clean:
	rm -rf .venv demo-out bench-out build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
