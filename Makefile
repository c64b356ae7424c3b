# Every command of the project; `make` alone lists them.
PYTHON ?= python3.11
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
DEMO_DIR := build/demo

.DEFAULT_GOAL := help
.PHONY: help preflight venv venv-peers kernels dist demo test sanitize test-specs test-quick mutants lint types verify bench bench-kernels cold-start contents clean clean-all

help:  ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

preflight:  ## check that the Debian packages needed for a build are there
	@packaging/preflight.sh $(PYTHON)

$(READY): packaging/requirements.txt
	@packaging/preflight.sh $(PYTHON)
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r packaging/requirements.txt
	@touch $@

venv: $(READY)  ## make .venv with the pinned build and test tools

venv-peers: $(READY)  ## add torch and transformers to .venv (for comparisons and the tests that need them)
	$(PY) -m pip install --quiet --disable-pip-version-check -r packaging/requirements-peers.txt

kernels: $(READY)  ## generate and compile vibee/_kernels from specs/, for x86-64-v2, -v3 and -v4
	$(PY) -m vibee.build.kernels

dist: kernels  ## build dist/vibee, one file that needs no Python
	$(PY) packaging/build_onefile.py

demo: dist  ## build dist/vibee, train it on the built-in text for half a minute, generate from it
	@mkdir -p $(DEMO_DIR)
	cd $(DEMO_DIR) && ../../dist/vibee train --minutes 0.5 && ../../dist/vibee infer --prompt "The " -n 200 --seed 1

# One process more than there are processors: tests wait for what they start.
WORKERS = $(shell echo $$(($$(nproc) + 1)))

test: dist  ## run every test, those of dist/vibee and of specs/ too, and list the lines of vibee/ that no quick one reaches
	@rm -rf build/coverage && mkdir -p build/coverage
	$(PY) -m coverage run -m pytest -n $(WORKERS) --dist worksteal
	@$(PY) -m coverage combine -q
	@$(PY) -m coverage report

test-specs: $(READY)  ## run the tests generated from every definition of specs/, with more cases (many minutes)
	$(PY) -m vibee test specs tests/strangers

test-quick: kernels  ## run the tests that take seconds
	$(PY) -m pytest -n auto --dist worksteal -m "not slow and not generated"

sanitize: $(READY)  ## call every kernel of specs/, built with gcc's sanitizers, with drawn arguments (FILES=... for some)
	$(PY) tests/sanitize/run.py $(FILES)

mutants: $(READY)  ## change specs and rules of the compiler a little, count the changes that proofs and generated tests find
	$(PY) tests/mutants/run.py --count $(or $(COUNT),40)
	$(PY) tests/mutants/run.py --compiler

lint: $(READY)  ## check style with ruff: lint and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check --quiet .

types: $(READY)  ## check types with mypy
	$(PY) -m mypy

verify: $(READY)  ## prove every definition of specs/
	$(PY) -m vibee verify specs

bench: dist  ## measure vibee beside the peers that are installed, write docs/performance.md (ONLY=THEME, TEXT=FILE, PAGE=FILE)
	$(PY) -m benchmarks.run $(if $(ONLY),--only "$(ONLY)")
	$(PY) -m benchmarks.page $(if $(PAGE),--out "$(PAGE)")

bench-kernels: kernels  ## measure this machine, every kernel, training and generation
	$(PY) -m vibee bench

cold-start: dist  ## median start time of dist/vibee
	$(PY) benchmarks/cold_start.py

contents: dist  ## what dist/vibee holds, by weight
	$(PY) benchmarks/contents.py

clean:  ## remove what was built, keep .venv
	rm -rf build dist vibee/_kernels/*.so vibee/_kernels/*.pyx vibee/_kernels/*.c vibee/_kernels/*.json vibee/_kernels/table.py vibee/_kernels/*.log vibee/_kernels/tmp-*
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

clean-all: clean  ## remove .venv too
	rm -rf $(VENV)
