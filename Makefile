# Set-up and the few commands a newcomer needs. `make demo` and `make test` work from a bare clone.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
RUNS ?= runs
BENCH ?= $(RUNS)/suite.json
MINUTES ?= 30
SEED ?= 1

.PHONY: help install demo test lint format bench growth gpu smoke simulations battery screenshots showcase clean

help:            ## this list
	@grep -E '^[a-z]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## a virtual environment with the pinned packages

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; call make with PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	@touch $@

demo: install    ## an ablation of UIT on rendered people, with its report (minutes on two cores)
	$(BIN)/python -m harness run studies/demo.yaml --out $(RUNS)/demo
	$(BIN)/python -m harness report $(RUNS)/demo

test: install    ## every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

lint: install    ## ruff, mypy, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install  ## let ruff format, and fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install   ## benchmarks into BENCH, and what moved since the committed ones; nothing can fail for being slow
	@mkdir -p $(dir $(BENCH))
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only --benchmark-json=$(BENCH)
	$(BIN)/python -m harness bench compare $(BENCH)

growth: install  ## time and memory as data, cells and trials grow, into reports/benchmarks; goes on where it stopped
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m growth_curves

gpu: install     ## all that is worth knowing of this GPU, in at most nine minutes; goes on where it stopped
	$(BIN)/python -m harness bench device

smoke: install   ## the smallest study (under a minute on two cores)
	$(BIN)/python -m harness run studies/smoke.yaml --out $(RUNS)/smoke

screenshots: install  ## small pictures of the ablation's page for the README (needs Chromium)
	$(BIN)/python -m reports.screenshots $(RUNS)/showcase/ablation --out reports/showcase --readme README.md

showcase: install  ## the studies of reports/showcase with their evidence, resumable (a night on two cores)
	$(BIN)/python -m harness.exchange.showcase --runs $(RUNS)/showcase

simulations: install ## coverage, error rates and power of the statistics on simulated studies (half an hour)
	PYTHONPATH=tests $(BIN)/python -m simulated_studies

battery: install ## random faults for MINUTES on the smoke study; any digit that differs is an error
	PYTHONPATH=tests $(BIN)/python -m battery.fault_battery --minutes $(MINUTES) --seed $(SEED) --out $(RUNS)/battery

clean:           ## remove the virtual environment and the caches of the tools (never a run)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
