# AutoPrune: `make demo` runs the main job, `make test` runs every test. Both set themselves up.
# pip, not uv: pip honours the machine's constraints and takes the CPU build of torch where one is set.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := $(VENV)/.installed
DEMO := $(VENV)/.demo
PROCESSES ?= 4
# Further options of pip's, such as --no-compile.
PIP_OPTIONS ?=
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS)

# A file of hashes, hashes-linux-x86_64-cp311.txt or one of `make hashes`: `make install` then takes no other files.
HASHES ?=

.PHONY: help install hashes docker demo up test tests lint docs bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(PACKAGES) $(DEMO) ## Make .venv with everything, demo models and text included

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else f"Python {v[0]}.{v[1]} is too old; AutoPrune needs 3.11 or newer: make PYTHON=python3.11 install")'
	$(PYTHON) -m venv $(VENV)

# Under -j both pips run at once, and one that looks for conflicts would read what the other has half
# written. The demo's packages lack requirements on purpose.
$(PACKAGES): pyproject.toml constraints.txt | $(BIN)/python
	$(if $(HASHES),$(PIP) --no-deps --require-hashes -r $(HASHES))
	$(if $(HASHES),$(PIP) --no-deps -c constraints.txt torch)
	$(PIP) --no-warn-conflicts $(if $(HASHES),--no-deps,-c constraints.txt) -e '.[search,platform,demo,tasks,dask,mcp,docs,dev]'
	@touch $@

# Wheels differ by platform, Python and index, and torch's CPU and CUDA builds have one version: hashes are of what pip,
# as it is set up here, would install. The file that comes along leaves torch out, so that each machine has its own build.
hashes: $(BIN)/python ## Write hashes.txt, what pip would install here by hash, for HASHES=hashes.txt
	$(PIP) --dry-run --ignore-installed --report $(VENV)/found.json -c constraints.txt '.[search,platform,demo,tasks,dask,mcp,docs,dev]'
	@$(BIN)/python -c 'import json, sys; found = json.load(open(sys.argv[1]))["install"]; print(*sorted("{name}=={version} --hash=sha256:{0}".format(one["download_info"]["archive_info"]["hashes"]["sha256"], **one["metadata"]) for one in found if "archive_info" in one["download_info"]), sep="\n")' $(VENV)/found.json > hashes.txt

$(DEMO): requirements-demo.txt | $(BIN)/python
	$(PIP) --no-deps -r requirements-demo.txt
	@touch $@

docker: ## Make sure that a Docker daemon answers (as root it installs docker.io, if you say so)
	@sh sandbox/docker.sh

demo: install docker ## Run the main job: search, prune, evaluate, register, report
	@$(BIN)/autoprune doctor --build
	@$(BIN)/autoprune demo

up: install ## Start Prefect, MLflow and a worker, and deploy the flows
	@$(BIN)/autoprune up

lint: install ## Style, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: install docker ## Every check and every test, on real parts, in PROCESSES=4 processes
	@$(MAKE) --no-print-directory -j 2 lint tests

# Much of the tests' time is waiting for servers and containers, so that four processes keep two cores busy:
# one thread of torch in each, which sleeps while it waits. Bytecode is kept, whatever the machine's
# environment says: some of a hundred commands and every container would compile torch anew.
# tests/conftest.py says which files go first.
# What failed while others ran runs once more alone, and fails the target if it fails again: its name
# and the first failure stay in the output.
# Temporary files lie in memory where it has 8 GB of room: tests make and remove thousands of databases.
IN_MEMORY = $(shell df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 8000000 {print "TMPDIR=/dev/shm"}')
PYTEST = $(IN_MEMORY) AUTOPRUNE_REQUIRE_DOCKER=1 OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE PYTHONDONTWRITEBYTECODE= \
	$(BIN)/python -m pytest
tests:
	@$(PYTEST) -n $(PROCESSES) --dist loadfile --no-loadscope-reorder; code=$$?; \
	if [ $$code -ne 1 ]; then exit $$code; fi; \
	echo "Once more, alone, what failed while others ran:"; \
	$(PYTEST) --maxfail 1 --last-failed --last-failed-no-failures none -rA

docs: install ## The documentation as a site, in site/
	@$(BIN)/zensical build --strict

bench: install ## List the benchmarks
	@$(BIN)/python -m benchmarks

# The ledger of looks at sealed sets is not in .autoprune and stays: a text that was read stays read.
clean: ## Forget runs and caches, keep .venv and the ledger of sealed looks
	rm -rf .autoprune .mypy_cache .ruff_cache .pytest_cache .hypothesis
