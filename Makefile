# Two commands matter: `make demo` and `make test`. Both set up what they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
SEEDS ?= 500

.PHONY: demo demo-stop demo-check test engines lint simulate bench docs clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet -e '.[dev,torch,postgres]'
	touch $(STAMP)

demo: $(STAMP)  ## three islands, one training job, a killed island, a bill; leaves the dashboard up
	$(BIN)/python -m causeway.demo

demo-stop: $(STAMP)  ## end what `make demo` left up
	$(BIN)/python -m causeway.demo --stop

demo-check: $(STAMP)  ## the same, headless; exits 0 only if every step was true
	$(BIN)/python -m causeway.demo --check

test: $(STAMP)  ## unit tests, lint, types, import rules
	$(BIN)/ruff check src tests bench examples
	$(BIN)/ruff format --check src tests bench examples
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -m "not engines" -n 2

engines: $(STAMP)  ## tests against real engines: PostgreSQL, Chromium, PyTorch, real processes
	$(BIN)/pytest -m engines

soak: $(STAMP)  ## kill a real control plane before and after every single store write
	CAUSEWAY_CRASH_POINTS=all $(BIN)/pytest -s tests/crash

simulate: $(STAMP)  ## the control plane under seeded faults; SEEDS=10000 for the long run
	$(BIN)/python -m causeway.twin.simulate --seeds $(SEEDS)

clean:
	rm -rf $(VENV) demo-state
