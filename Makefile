# Each target sets up what it needs by itself; progress goes to standard error, results to standard output.
SHELL := /bin/bash
VENV  := .venv/bin
PYTHON ?= python3

.PHONY: help demo test check bench format setup clean-asterisk clean

help:
	@echo "make demo            a live demo: an embedded Asterisk, calls with an AI, and the panel"
	@echo "make demo ARGS=--freeswitch   the same with a FreeSWITCH beside it, where one is installed"
	@echo "make demo ARGS=--check   one takeover and return in a headless browser, measured; exit 0 or 1"
	@echo "make test            make check, then every test against a real Asterisk and a real Chromium"
	@echo "make check           lint, types and the import contracts"
	@echo "make -s bench NAME=switch ARGS=\"...\"   one JSON object of measured figures"
	@echo "make format          format the code"
	@echo "make clean-asterisk  remove the embedded Asterisk;  make clean  remove everything set up here"

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml .ci/setup
	@PYTHON=$(PYTHON) .ci/setup venv 1>&2

demo: .venv/.ready
	@case "$(ARGS)" in *--check*) .ci/setup chromium 1>&2;; esac
	@$(VENV)/takeover demo $(ARGS)

test: check
	@.ci/setup chromium 1>&2
	@$(VENV)/python -m web.demo.asterisk install 1>&2
	@.ci/test $(ARGS)

check: .venv/.ready
	@.ci/setup node 1>&2
	$(VENV)/ruff format --check -q connector media web tests
	$(VENV)/ruff check -q connector media web tests
	$(VENV)/mypy
	$(VENV)/lint-imports --no-logo
	PATH="$(CURDIR)/$(VENV):$$PATH" node_modules/.bin/tsc --noEmit -p .

bench: .venv/.ready
	@test -n "$(NAME)" || { echo "make bench: NAME is missing; one of: $$(cd tests/bench && ls *.py | sed 's/\.py//;/__init__/d' | tr '\n' ' ')" >&2; exit 2; }
	@test -f "tests/bench/$(NAME).py" || { echo "make bench: there is no tests/bench/$(NAME).py" >&2; exit 2; }
	@.ci/setup chromium 1>&2
	@$(VENV)/python -m tests.bench.$(NAME) --json $(ARGS)

format: .venv/.ready
	$(VENV)/ruff format connector media web tests
	$(VENV)/ruff check --fix-only -q connector media web tests

clean-asterisk: .venv/.ready
	@$(VENV)/python -m web.demo.asterisk remove

clean:
	rm -rf .venv node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
