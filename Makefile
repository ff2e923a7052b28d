# Every command a developer or CI needs. Only Python 3.11 to 3.13 and make are needed beforehand.
SHELL := /bin/bash
PYTHON ?= python3.11
DURATION ?= 0
BIN := .venv/bin
READY := .venv/.ready
# What numba compiles is compiled once, two minutes, before two test workers would both do it.
WARM := $(BIN)/python -c 'import detectors.warm, sim.warm; detectors.warm.warm(print), sim.warm.warm(print)'

.PHONY: run test check bench clean

run: $(READY)  ## the whole loop on a simulated cluster, with its page; DURATION=60 ends by itself
	$(BIN)/gpumedic demo --duration $(DURATION)

test: $(READY)
	$(WARM)
	$(BIN)/pytest -n 2 --dist loadgroup $(PYTEST_ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/test_house_style.py

bench: $(READY)
	$(BIN)/gpumedic bench all $(BENCH_ARGS)

# torch comes first and alone: with it in place no other package pulls a build of several gigabytes.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	PIP_CONSTRAINT=constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check \
		--editable '.[all,dev]'
	touch $@

clean:
	rm -rf .venv build dist var .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
