# make help lists what there is.
# The environment is .venv, made from the hashed lock; it is renewed when the lock changes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PROCESSES ?= 2
PYTEST_FLAGS ?=
LOCK_FLAGS   ?=

SUPPORTED := import sys; v = sys.version_info[:2]; \
  sys.exit(0 if (3, 11) <= v < (3, 14) else "lvseg needs Python 3.11, 3.12 or 3.13; found %d.%d: %s" % (v + (sys.executable,)))

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-quick test-rest test-cluster test-faults lint lock benchmark clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## */: /'
	@echo "PYTHON=python3.12 picks another Python for $(VENV) (3.11 to 3.13)."

venv: $(READY)  ## the environment, with everything the other targets need

$(READY): requirements/dev.txt pyproject.toml
	@if [ -x $(BIN)/python ]; then \
	  $(BIN)/python -c '$(SUPPORTED)' || { echo "remove the folder $(VENV), then call make with PYTHON=python3.12, say"; exit 1; }; \
	else \
	  $(PYTHON) -c '$(SUPPORTED)' || { echo "call make with PYTHON=python3.12, say"; exit 1; }; \
	  echo "making $(VENV) with $(PYTHON)"; \
	  $(PYTHON) -m venv --clear $(VENV); \
	fi
	@echo "installing from requirements/dev.txt (about 1 GB the first time)"
	$(BIN)/python -m pip install --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --no-build-isolation --no-deps -e .
	@touch $@

demo: $(READY)  ## the main job on made-up hearts: convert, train, sweep, leaderboard, report page
	$(BIN)/lvseg demo

test: test-quick test-rest  ## all tests, the quick ones first

test-quick: $(READY)  ## the tests that need neither Ray processes nor more than two seconds each
	$(BIN)/python -m pytest -m "not ray and not slow and not cluster" -n $(PROCESSES) $(PYTEST_FLAGS)

test-rest: test-quick  # after the quick ones, also under make -j
	$(BIN)/python -m pytest -m "(ray or slow) and not cluster" -n $(PROCESSES) --dist loadfile $(PYTEST_FLAGS)

test-cluster: $(READY)  ## jobs on three real nodes, a node that dies, a worker that hangs, sweeps on many made-up nodes
	$(BIN)/python -m pytest -m "cluster and not slow" $(PYTEST_FLAGS)

test-faults: $(READY)  ## all of tests/nodes: everything that breaks on a cluster, Slurm, a sweep on 64 made-up nodes
	$(BIN)/python -m pytest tests/nodes $(PYTEST_FLAGS)

lint: $(READY)  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict lvseg

benchmark: $(READY)  ## training speed against a bare TensorFlow loop
	$(BIN)/python -m benchmarks.train_throughput

UV_COMPILE = $(BIN)/uv pip compile pyproject.toml --no-config --universal --python-version 3.11 \
  --generate-hashes --no-annotate --custom-compile-command "make lock" --quiet $(LOCK_FLAGS)

lock: $(READY)  ## requirements/*.txt from pyproject.toml; LOCK_FLAGS=--upgrade for newer versions
	$(UV_COMPILE) -o requirements/lock.txt
	$(UV_COMPILE) -c requirements/lock.txt --extra dev -o requirements/dev.txt
	$(UV_COMPILE) -c requirements/lock.txt --extra gpu -o requirements/gpu.txt
	$(UV_COMPILE) --extra aws -o requirements/aws.txt

clean:  ## remove caches and build output; the environment and runs stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
