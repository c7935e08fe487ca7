# Two targets do everything from a fresh clone; they need python3 (3.11 or newer) and pip.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install -q -c constraints.txt
comma := ,

.PHONY: demo test test-campaign test-cuda test-engines lint costs pages screens attack cause-table clean-runs clean-shipped placements reductions located

demo: $(VENV)/.demo
	@echo "decoding 128 tokens on both paths and judging every stage; under a minute"
	$(BIN)/specwb diff --prompt workbench/checkpoints/prompts/code.txt

test: $(VENV)/.test
	$(BIN)/python -m pytest -q -n 2

# A thousand cases, some with faults, on two Ray workers; workers and the driver are killed; a quarter of an hour
test-campaign: $(VENV)/.test
	OMP_NUM_THREADS=1 RAY_worker_niceness=0 $(BIN)/python -m attack.campaign $(or $(FOLDER),campaign-test) --tiny
	OMP_NUM_THREADS=1 $(BIN)/python -m attack.odd_machine $(or $(FOLDER),campaign-test)/odd

# On a machine with a CUDA device, in under 8 minutes; doctor says what was verified. Skips without one.
test-cuda: $(VENV)/.test
	$(BIN)/python -m gpu

# A real engine in an environment of its own, cached by its pins (3 minutes the first time); skips loudly where it
# cannot be installed. An environment that is there: make test-engines SPECWB_VLLM_CPU_PYTHON=/path/bin/python
test-engines: $(VENV)/.test
	$(BIN)/python -m engines $(ONLY)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Pages and data that are written from the code; tests fail when one is stale.
pages: $(VENV)/.test
	$(BIN)/python -m pages.trace_columns docs/trace-columns.md
	$(BIN)/python -m pages.invariants docs/invariants
	$(BIN)/python -m pages.rules docs/rules.md
	$(BIN)/python -m pages.checkpoint_keys docs/checkpoint-keys.md
	$(BIN)/python -m pages.kernel_bugs docs/kernel-bugs.md

# Pictures and the recording of the screen, for README and documentation
screens: $(VENV)/.test
	$(BIN)/python -m pages.screenshots traces docs/screens
	$(BIN)/python -m pages.cast docs/screens/first-fault.cast

# All costs, or some: make costs ONLY="check disk"; takes long and 12 GB of temporary files (docs/costs.md).
costs: $(VENV)/.test
	$(BIN)/python -m costs $(ONLY) $(if $(RUNS),--runs $(RUNS)) $(if $(KEEP),--keep $(KEEP)) --page costs.html

# What the first line says of single mistakes in three ports; what was measured before is kept.
cause-table: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m causes --jobs $(or $(JOBS),1) --out docs/cause-table.md $(ONLY)

# Errors in single operators, each located from the first finding of its run; some 20 minutes.
placements: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m placements --out docs/placements.md

# What each fault of the catalogue is located to: a column of the kill matrix.
located: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m placements --faults docs/located.json

reductions: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m reductions --missing

# Random legal steps and clean runs, none of which may give a finding: make clean-runs RUNS=100 JOBS=2
clean-runs: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m clean --jobs $(or $(JOBS),1) --runs $(or $(RUNS),1000)

# Every shipped drafter on every shipped prompt, float32 and bfloat16, contiguous and paged: no finding
clean-shipped: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m clean --jobs $(or $(JOBS),1) --shipped

# Attacks on files, writers and readers; hours at the full scale: make attack SCALE=0.01 ONLY="kills flips"
SCALE ?= 1
attack: $(VENV)/.test
	$(BIN)/python -m attack $(ONLY) --scale $(SCALE)

# Says what it does while it does it: torch alone takes minutes.
define INSTALL
	@echo "1 of 3  making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "2 of 3  installing torch into it, by far the largest part; some minutes, once"
	@$(PIP_INSTALL) torch
	@echo "3 of 3  installing the project and $(1)"
	@$(PIP_INSTALL) -e '.[$(2)]'
	@touch $@
endef

$(VENV)/.demo: pyproject.toml constraints.txt
	$(call INSTALL,transformers$(comma) pyarrow$(comma) textual,all)

$(VENV)/.test: pyproject.toml constraints.txt
	$(call INSTALL,what the tests need,all$(comma)dev)
