# Every command a developer or CI needs. Only Python 3.11 to 3.13 and make are needed beforehand.
SHELL := /bin/bash
PYTHON ?= python3.11
DURATION ?= 0
BIN := .venv/bin
READY := .venv/.ready
COMPILER := .venv/.compiler
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
# What Python compiles is kept, wherever this is called from: tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test check bench deb clean warm-engine warm-detectors

run: $(READY)  ## the whole loop on a simulated cluster, with its page; DURATION=60 ends by itself
	$(BIN)/gpumedic demo --duration $(DURATION)

# Three workers, for two cores: tests/dealing.py has them begin with what mostly waits.
test: $(READY) warm-engine warm-detectors
	$(BIN)/pytest -n 3 --no-loadscope-reorder $(PYTEST_ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/test_house_style.py

# What numba compiles is compiled once, before test workers would each do it; with make -j it is
# compiled while the rest is installed.
warm-engine: $(COMPILER)
	$(BIN)/python -c 'import remediation.warm; remediation.warm.warm(print)'

warm-detectors: $(COMPILER)
	$(BIN)/python -c 'import detectors.warm; detectors.warm.warm(print)'

bench: $(READY)
	$(BIN)/gpumedic bench all $(BENCH_ARGS)

$(COMPILER): constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt $(PIP) gymnasium numba scipy
	touch $@

# torch comes before the rest: with it in place no other package pulls a build of several gigabytes.
$(READY): $(COMPILER) pyproject.toml
	$(PIP) torch==2.13.0
	PIP_CONSTRAINT=constraints.txt $(PIP) --editable '.[all,dev]'
	touch $@

deb: $(READY)  ## the Debian package, to dist/; EXTRAS=controller for one with all of the controller
	deploy/deb/build dist

clean:
	rm -rf .venv build dist var .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
