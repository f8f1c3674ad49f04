# make setup    install what is missing            make demo    the whole cloud, shown on real guests
# make check    lint, types, unit, architecture    make test    everything, with its budget a tier
# make bench    the table of speed and size        make soak    long loops
# make conformance [DRIVER=simulated]              OpenStack's own integration suite against a fresh cloud
SHELL := /bin/bash
PY := .venv/bin/python
.PHONY: setup setup-test check test demo bench soak conformance clean
DRIVER ?= simulated

setup:
	@scripts/setup.sh

setup-test:
	@scripts/setup.sh --test

check: setup-test
	@$(PY) -m tests.tiers check

test: setup-test
	@$(PY) -m tests.tiers check contracts api conformance journeys

soak: setup-test
	@$(PY) -m tests.tiers soak

demo: setup
	@$(PY) -m demo

bench: setup-test
	@$(PY) -c 'import ortools' 2>/dev/null || $(PY) -m pip install -q --disable-pip-version-check -e '.[bench]'
	@$(PY) -m bench

conformance: setup-test
	@$(PY) -m conformance --driver $(DRIVER)

clean:
	rm -rf build .mypy_cache .ruff_cache .pytest_cache
