# The commands of the README. Each does its own set-up: a virtual environment in .venv, made anew when pyproject.toml changes.

PYTHON ?= python3
GATEWAY ?= reference
SECONDS ?= 60
SIZE ?= 100
IPERF3 ?= 10
BIN := .venv/bin
MEASURED := docs/benchmarks

.PHONY: demo test lint check fuzz lab lab-quick bench bench-all bench-tables docs mutation coverage pypy clean help
.DELETE_ON_ERROR:

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/run ## the suite against both gateways, then packets followed through the network (no privilege)
	$(BIN)/glassgate demo

test: .venv/all lint ## lint, types, every test, docs (tests that need root or a missing program say so)
	$(BIN)/python -m pytest

lint: .venv/all ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: .venv/run ## the conformance suite against both gateways
	$(BIN)/glassgate check all

fuzz: .venv/run ## differential fuzzing, SECONDS=60
	$(BIN)/glassgate fuzz reference optimized --seconds $(SECONDS)

lab: .venv/run ## root: everything with a stock openvpn in network namespaces, GATEWAY=reference SIZE=100 IPERF3=10
	$(BIN)/glassgate lab all --gateway $(GATEWAY) --size $(SIZE) --seconds $(IPERF3)

lab-quick: .venv/run ## root: of that, real traffic through one tunnel only: a minute
	$(BIN)/glassgate lab run --gateway $(GATEWAY)

bench: .venv/run ## what a packet costs: both gateways and the bare cipher side by side
	$(BIN)/glassgate bench core

bench-all: .venv/run ## root: everything that docs/benchmarks.md shows, measured anew and written there (half an hour; QUICK=1: five minutes)
	$(BIN)/glassgate bench core $(if $(QUICK),--rounds 3 --milliseconds 2) --json $(MEASURED)/core.json
	$(BIN)/glassgate bench lab $(if $(QUICK),--rounds 1) --timeout 1800 --json $(MEASURED)/lab.json
	$(BIN)/glassgate bench lab $(if $(QUICK),--rounds 1) --timeout 1800 --isolated --json $(MEASURED)/lab-isolated.json
	$(BIN)/glassgate bench lab $(if $(QUICK),--rounds 1) --timeout 1800 --offloads off --json $(MEASURED)/lab-offloads-off.json
	$(BIN)/glassgate bench scale $(if $(QUICK),--packets 30000,--full) --json $(MEASURED)/scale.json
	$(MAKE) bench-tables

bench-tables: .venv/run ## the tables and pictures of docs/benchmarks.md from what was measured last
	$(BIN)/glassgate bench tables $(MEASURED)/*.json --to $(MEASURED) --pictures docs/_static

docs: .venv/all ## the Sphinx pages in docs/_build/html, warnings as errors
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

mutation: .venv/run ## small changes of the reference, the vectors alone to notice them (six minutes; SAMPLE=150: less than one)
	$(BIN)/pip install --quiet --editable '.[mutation]'
	$(BIN)/glassgate mutants $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED))

# Two kinds of tests are left out, so that the figure is the same each time and never flattered: the properties, for what
# only a lucky draw reaches is not tested, and the long talks with the stock server and the kernel's TCP.
coverage: .venv/all ## line and branch coverage of the reference gateway by its tests (one as root), as a table; fails under 100 %
	$(BIN)/python -m pytest -q -m 'not hypothesis' --cov --cov-report= reference \
		--ignore-glob='*_stock.py' --ignore-glob='*_linux.py'
	$(BIN)/coverage report --no-skip-covered --include='reference/*' --fail-under=100

pypy: ## root: suite, demo and tests on PyPy 3.11 in a chroot
	.ci/pypy

clean: ## everything that was made
	rm -rf .venv build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "glassgate needs Python 3.11 or later, not " + sys.version)'
	$(PYTHON) -m venv .venv

.venv/run: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/all: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --editable '.[test,docs,lint]'
	touch $@ .venv/run
