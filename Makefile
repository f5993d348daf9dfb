# Everything runs in .venv, which needs only Python >= 3.11 (`make PYTHON=python3.12` selects another).
PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
# Without compiled modules, as many containers and CI machines are set, each process compiles torch anew: seconds.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: docs coverage fuzz mutants mutants-short mutants-files test-heavy test-long test-browser test-slurm chaos setup demo test check bench format lock upgrade test-install test-newer lowest test-lowest clean

# The stamp file is newer than its prerequisites, so that a second call installs nothing.
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

# A process more than cores, since tests wait too. Each runs whole test files, so that a file's fixtures are built once.
PARALLEL := -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# What has a target of its own.
APART := not long and not browser and not slurm and not chaos

test: setup
	$(BIN)/python -m pytest $(PARALLEL) -m "$(APART) and not heavy"

# The rest of what CI runs: tests that start several processes, which import torch, compile networks, or take many seconds.
test-heavy: setup
	$(BIN)/python -m pytest $(PARALLEL) -m "$(APART) and heavy"

# Pages in a real browser. Without Chromium, Debian's is installed, which root may do; for others the tests are skipped.
CHROMIUM ?= /usr/bin/chromium
test-browser: setup
	@if [ -x $(CHROMIUM) ]; then echo "Pages are opened in $(CHROMIUM); nothing is installed."; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Debian's package chromium: apt-get install chromium"; \
		apt-get update -qq && apt-get install -qq --yes --no-install-recommends chromium >/dev/null || true; \
	fi
	@test -x $(CHROMIUM) || echo "$(CHROMIUM) is missing: install it, or call make test-browser CHROMIUM=/path/to/chromium"
	FACEMILL_CHROMIUM=$(CHROMIUM) $(BIN)/python -m pytest -m browser tests/browser

# Jobs on a Slurm of two nodes on this machine, which needs root. Without Slurm, Debian's is installed.
SLURM_TESTS ?= slurm
test-slurm: setup
	@if ! command -v sbatch >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Debian's Slurm: apt-get install slurm-wlm munge"; \
		apt-get update -qq && apt-get install -qq --yes --no-install-recommends slurm-wlm munge >/dev/null || true; \
	fi
	PATH=$$PATH:/usr/sbin $(BIN)/python -m pytest -m "$(SLURM_TESTS)" tests/slurm

# Kills, frozen processes, partitions, disks that fail, little memory, clocks that jump: CHAOS_KILLS=100 CHAOS_SEED=7 make chaos
CHAOS_KILLS ?= 40
CHAOS_SEED ?= 0
export CHAOS_KILLS CHAOS_SEED
chaos: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m chaos tests/chaos

# Runs README's commands and checks the demo's figures.
test-long: setup
	$(BIN)/python -m pytest -m "long and not slurm" --ignore tests/fuzz

# Damaged files: FUZZ_CASES=1000 FUZZ_VIDEOS=2000 FUZZ_SEED=7 make fuzz; FUZZ_FIRST=200 starts at that case
fuzz: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) --dist load -m long tests/fuzz

# Plants small changes in the code, and lists those that no test notices: MUTANTS=50 SEED=7 make mutants
MUTANTS ?= 200
SEED ?= 0
mutants: build/contexts
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation build/contexts --sample $(MUTANTS) --seed $(SEED)

# The first of them, each with the files of tests that are written down for its module: recording contexts takes minutes. Of 30,
# chance makes the share 11 % lower or higher.
mutants-short: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation --sample 30 --least 0.79 --seed $(SEED)

mutants-files: build/contexts
	$(BIN)/python -m tests.mutation build/contexts --files

# Which tests run which lines of what is mutated, and how long they take.
COVERED := manifests masks pipeline/build pipeline/clips pipeline/data pipeline/decode pipeline/extract pipeline/tracking
build/contexts: .venv/.installed $(shell find $(COVERED) $(addprefix tests/,$(COVERED)) -name '*.py')
	mkdir -p build
	COVERAGE_FILE=build/contexts $(BIN)/python -m pytest $(PARALLEL) -m "not long" --cov --cov-context=test --cov-report= \
		--cov-fail-under=0 --junitxml=build/contexts.xml $(addprefix tests/,$(COVERED))

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m benchmarks --out bench-out

# The documentation site, generated from code and pages without network access, in build/docs.
docs: setup
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --quiet

# Line coverage of the tests. Threads of torch and other processes are not counted: counting them ends torch's loaders.
coverage: setup
	$(BIN)/python -m pytest $(PARALLEL) -m "$(APART)" --cov --cov-report=term:skip-covered

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Names, versions and hashes, but no URLs. `lock` keeps all versions that still fit, `upgrade` takes the newest ones.
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --all-extras --generate-hashes --no-emit-index-url --no-header
lock: setup
	$(COMPILE) --output-file requirements.lock

upgrade: setup
	$(COMPILE) --upgrade --output-file requirements.lock

# The user's installation, without the lock: the wheel with its newest dependencies, for every Python, outside the checkout.
# Plain pip resolves once; uv, without configuration, resolves for the other Python versions and installs from its cache.
EXTRAS := --extra train --extra export --extra demo --extra dashboard --extra lmdb --extra landmarks --extra s3
WHEELS_ONLY := --python-platform x86_64-unknown-linux-gnu --only-binary :all: --no-binary face-recognition-models

NEWER ?= >=3.12,<3.15
test-install: setup
	rm -rf build/install
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/install .
	for version in 3.11 3.12 3.13 3.14; do \
		$(BIN)/uv --no-config pip compile --quiet pyproject.toml $(EXTRAS) $(WHEELS_ONLY) --python-version $$version \
			--output-file build/install/newest-$$version.txt >/dev/null || exit 1; \
	done
	$(PYTHON) -m venv build/install/venv
	build/install/venv/bin/python -m pip install --quiet --dry-run "$$(echo build/install/facemill-*.whl)[train]"
	$(BIN)/uv --no-config pip install --quiet --python build/install/venv "$$(echo build/install/facemill-*.whl)[demo]"
	cd "$$(mktemp --directory)" && $(CURDIR)/build/install/venv/bin/facemill demo --no-train --out demo-out
	@$(BIN)/uv --no-config venv --quiet --no-python-downloads --python '$(NEWER)' build/install/newer \
		|| echo "There is no Python $(NEWER) here, which gets newer packages: call make test-install NEWER=/path/to/python3.12"
	test ! -d build/install/newer || { \
		$(BIN)/uv --no-config pip install --quiet --python build/install/newer "$$(echo build/install/facemill-*.whl)[demo]" && \
		cd "$$(mktemp --directory)" && $(CURDIR)/build/install/newer/bin/facemill demo --no-train --out demo-out; }

# The lock installs another FFmpeg from Python 3.12 on, so that decoding and clips are tested there too.
test-newer: setup
	rm -rf build/test-newer
	@$(BIN)/uv --no-config venv --quiet --no-python-downloads --python '$(NEWER)' build/test-newer \
		|| echo "There is no Python $(NEWER) here, so that its FFmpeg is not tested: call make test-newer NEWER=/path/to/python3.12"
	test ! -d build/test-newer || { \
		$(BIN)/uv pip sync --quiet --python build/test-newer/bin/python --require-hashes requirements.lock && \
		build/test-newer/bin/python -c 'import av, sys; print("Python", sys.version.split()[0], "PyAV", av.__version__)' && \
		build/test-newer/bin/python -m pytest $(PARALLEL) -m "not slow and not long" tests/pipeline/decode tests/pipeline/clips; }

# Whether the oldest releases that pyproject.toml allows go together, also with what tests need.
lowest: setup
	rm -rf build/lowest
	mkdir -p build/lowest
	$(BIN)/uv --no-config pip compile --quiet pyproject.toml $(EXTRAS) --python-version 3.11 --resolution lowest-direct \
		--output-file build/lowest/requirements.txt >/dev/null
	$(BIN)/uv --no-config pip compile --quiet pyproject.toml $(EXTRAS) --extra dev --python-version 3.11 \
		--constraint build/lowest/requirements.txt --output-file build/lowest/with-tests.txt >/dev/null

# OpenCV 4 interpolates between pixels more coarsely than 5: these miss their bounds by 0.008 and 0.0005.
COARSER := --deselect "tests/masks/test_forgery.py::test_forged_regions_are_found_after_compression[eyes-True-0.03-23-0.76]" \
	--deselect tests/masks/test_outline.py::test_a_side_that_differs_more_than_the_other_does_not_move_the_outline

# Fast tests with these, on the oldest Python, without deprecation warnings, which old releases cause with newer versions
# of their dependencies.
test-lowest: lowest
	$(BIN)/uv --no-config venv --quiet --seed --python 3.11 build/lowest/venv
	$(BIN)/uv --no-config pip install --quiet --no-deps --python build/lowest/venv \
		--requirements build/lowest/with-tests.txt --editable .
	build/lowest/venv/bin/python -m pytest $(PARALLEL) -m "$(APART) and not slow and not gpu" -W ignore::DeprecationWarning \
		-W "ignore:torch.meshgrid:UserWarning" $(COARSER)

clean:
	rm -rf .venv demo-out bench-out build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
