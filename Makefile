# Relative paths only, so that a checkout whose path has spaces works.
PYTHON := .venv/bin/python
WORKERS ?= 2
ARGS ?=
# the rendering backend that setup found to work, unless the caller has chosen one
GL = MUJOCO_GL="$${MUJOCO_GL:-$$(cat .venv/mujoco-gl)}"

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev simpler recap test lint docs

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup:  ## .venv with everything needed to run (TORCH_INDEX_URL=... picks another torch build)
	@TORCH_INDEX_URL="$(TORCH_INDEX_URL)" scripts/setup.sh

setup-dev:  ## setup and the test and lint tools
	@TORCH_INDEX_URL="$(TORCH_INDEX_URL)" scripts/setup.sh --dev

simpler: setup  ## adds the SIMPLER tasks (ManiSkill 3; on Debian 12, as root, Mesa from backports)
	@scripts/simpler.sh

recap: setup  ## the RECAP loop in simulation (ARGS="key=value ..." overrides settings)
	$(GL) $(PYTHON) experiments/recap_sim.py $(ARGS)

test: setup-dev  ## all tests (ARGS="-m 'not slow'" leaves out the slow ones)
	$(GL) $(PYTHON) -m pytest -n $(WORKERS) $(ARGS)

lint: setup-dev  ## ruff and mypy
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

docs: setup-dev  ## the documentation as a site in site/
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build
