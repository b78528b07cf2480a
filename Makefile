# Two commands matter: `make demo` and `make test`. Both set up what they need in .venv.
# TORCH_PIP holds further arguments for the installation of PyTorch alone, e.g. an index of CPU
# builds: see "PyTorch for the CPU" in README.md.
PYTHON ?= python3
TORCH_PIP ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
SEEDS ?= 500
WORKERS ?= 2
BENCHES ?= cli_help catalogue_search schedule_round submit_storm noop_jobs start_latency \
	idle_fleet failover recovery map_tasks openb_packing twin_fast fair_round kueue_load \
	engine_overhead wan_transfer wide_training ray_overhead

PEERS := .venv-peers
PEERS_STAMP := $(PEERS)/.ready
CWLTES := .venv-peers-cwltes
CWLTES_STAMP := $(CWLTES)/.ready
TOIL := .venv-peers-toil
TOIL_STAMP := $(TOIL)/.ready
SKYPILOT := .venv-peers-skypilot
SKYPILOT_STAMP := $(SKYPILOT)/.ready
RAY := .venv-peers-ray
RAY_STAMP := $(RAY)/.ready

.PHONY: demo demo-check test engines peers ray kubernetes lint experiments simulate bench docs screenshots soak clean

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Causeway needs Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
	  echo "This Python cannot make virtual environments. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet torch==2.13.0 $(TORCH_PIP)
	$(BIN)/pip install --quiet -e '.[dev,torch,postgres,twin]'
	touch $(STAMP)

# Programs of other people that the tests talk to, and that a bench races: in an environment of their
# own, so that what they need never meets what Causeway needs.
$(PEERS_STAMP): tests/peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip install --quiet --upgrade pip
	$(PEERS)/bin/pip install --quiet -r tests/peers.txt
	touch $(PEERS_STAMP)

# One of the libraries that cwl-tes pins is built with what setuptools could do until version 58.
$(CWLTES_STAMP): tests/peers-cwltes.txt
	$(PYTHON) -m venv $(CWLTES)
	$(CWLTES)/bin/pip install --quiet setuptools==57.5.0 wheel
	$(CWLTES)/bin/pip install --quiet --no-build-isolation rdflib-jsonld==0.4.0
	$(CWLTES)/bin/pip install --quiet -r tests/peers-cwltes.txt
	touch $(CWLTES_STAMP)

$(TOIL_STAMP): tests/peers-toil.txt
	$(PYTHON) -m venv $(TOIL)
	$(TOIL)/bin/pip install --quiet -r tests/peers-toil.txt
	touch $(TOIL_STAMP)

$(SKYPILOT_STAMP): tests/peers-skypilot.txt
	$(PYTHON) -m venv $(SKYPILOT)
	$(SKYPILOT)/bin/pip install --quiet -r tests/peers-skypilot.txt
	touch $(SKYPILOT_STAMP)

$(RAY_STAMP): tests/peers-ray.txt
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/pip install --quiet -r tests/peers-ray.txt
	touch $(RAY_STAMP)

demo: $(STAMP)  ## three islands, one training job, a killed island, a bill; leaves the dashboard up
	$(BIN)/python -m causeway.demo

demo-check: $(STAMP)  ## the same, headless; exits 0 only if every step was true
	$(BIN)/python -m causeway.demo --check

test: lint  ## lint, types, import rules, and all tests that need no other engine
	$(BIN)/pytest -m "not engines and not peers and not ray and not kubernetes and not data" -n $(WORKERS)

lint: $(STAMP)
	$(BIN)/ruff check src tests bench examples docs plugins
	$(BIN)/ruff format --check src tests bench examples docs plugins
	$(BIN)/mypy
	$(BIN)/lint-imports

engines: $(STAMP)  ## tests against real engines: PostgreSQL, Chromium, PyTorch, real processes
	$(BIN)/pytest -m engines -n $(WORKERS) --dist loadfile

peers: $(STAMP) $(PEERS_STAMP) $(CWLTES_STAMP) $(TOIL_STAMP) $(SKYPILOT_STAMP)  ## tests with other people's programs: Slurm, sshd, Snakemake, submitit, Dask, ...
	$(BIN)/pytest -m peers -n $(WORKERS) --dist loadfile

ray: $(STAMP) $(RAY_STAMP)  ## tests with two real Ray clusters, each in a network of its own (needs root)
	$(BIN)/pytest -m ray

kubernetes: $(STAMP)  ## tests with a real Kubernetes 1.20 control plane, built from Debian's source once (needs root; seven minutes of CPU) and kept in ~/.cache/causeway
	bash tests/peers/kubernetes/build.sh
	$(BIN)/pytest -m kubernetes

experiments: $(STAMP)  ## the scheduling brain on real traces (the environment variable CAUSEWAY_DATA names their folder)
	@test -d "$$CAUSEWAY_DATA" || { echo "CAUSEWAY_DATA names no folder of traces; see docs/twin.md" >&2; exit 2; }
	$(BIN)/pytest -m data -n $(WORKERS)

simulate: $(STAMP)  ## the control plane under seeded faults; SEEDS=10000 for the long run
	$(BIN)/python -m causeway.twin.simulate --seeds $(SEEDS)

bench: $(STAMP) $(PEERS_STAMP) $(RAY_STAMP)  ## every bench, one after another, each on a quiet machine (long; the last four need root, and Slurm, rclone and rsync); each writes its section of docs/benchmarks.md
	@missed=; for bench in $(BENCHES); do echo "== $$bench"; \
		$(BIN)/python bench/quiet.py; $(BIN)/python bench/$$bench.py --write || missed="$$missed $$bench"; done; \
		test -z "$$missed" || { echo "a target was missed by:$$missed"; exit 1; }

docs: $(STAMP)  ## write the reference pages anew from the code
	$(BIN)/python docs/generate.py

screenshots: $(STAMP)  ## take the pictures of the dashboard anew (needs Chromium)
	$(BIN)/python docs/screenshots.py

soak: $(STAMP) $(RAY_STAMP)  ## the long run: 10,000 seeds, a kill at every single write of the store, and every fault under 200 jobs on three kinds of islands and under 40 on Ray, cables out for ten minutes (needs root, Slurm and sshd)
	$(BIN)/python -m causeway.twin.simulate --seeds 10000
	CAUSEWAY_CRASH_POINTS=100000 $(BIN)/pytest -m engines tests/crash
	CAUSEWAY_MATRIX_JOBS=200 CAUSEWAY_MATRIX_CUT_S=600 $(BIN)/pytest -m peers -s tests/peers/matrix
	CAUSEWAY_MATRIX_JOBS=40 CAUSEWAY_MATRIX_CUT_S=600 $(BIN)/pytest -m ray -s tests/peers/ray/test_matrix_ray.py

clean:
	rm -rf $(VENV) $(PEERS) $(CWLTES) $(TOIL) $(SKYPILOT) $(RAY) demo-state
