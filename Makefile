.DEFAULT_GOAL := help
SHELL := bash

# Recordings for the tests that need some; those are skipped where there are none.
ifneq ($(wildcard ../shared/data/manifest.csv),)
export SER_DATA ?= $(abspath ../shared/data)
endif

# Tests mostly wait for processes of their own. Those of a file stay together, with what they train.
TEST_PROCESSES ?= 2

export PYTHON
TEST := .venv-test/bin
BENCH ?=
FUZZ ?=
LOAD ?=
SOAK ?=
IMAGE ?=
CAPACITY ?=

.PHONY: help run test lint format lock bench fuzz bombs load soak long activity image image-lab image-test arm64-test capacity release-check clean serve-env test-env

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: serve-env ## serve the default model on http://localhost:8000 (PORT and HOST change that)
	@exec .venv/bin/ser serve

test: lint ## lint, check types and run every test
	$(TEST)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

lint: test-env ## ruff and mypy
	$(TEST)/ruff check .
	$(TEST)/ruff format --check .
	$(TEST)/mypy

format: test-env ## let ruff put the code in order
	$(TEST)/ruff check --fix .
	$(TEST)/ruff format .

bench: test-env ## measure speed and memory beside a classic app (BENCH="--quick" for a look)
	$(TEST)/python -m benchmarks.bench $(BENCH)

fuzz: test-env ## 100,000 damaged recordings against the decoder, 5,000 against a service
	$(TEST)/python -m benchmarks.fuzz $(FUZZ)

bombs: test-env ## uploads made to cost a lot: refused quickly, in little memory
	$(TEST)/python -m benchmarks.bombs

load: test-env ## 1, 2 and 4 times what the service can take; stops and kills in the middle
	$(TEST)/python -m benchmarks.overload $(LOAD)

soak: test-env ## 100,000 requests of every kind: does memory stay?
	$(TEST)/python -m benchmarks.soak $(SOAK)

long: test-env ## judge an hour of sound: how many times real time, and what memory
	$(TEST)/python -m benchmarks.long $(LONG)

activity: test-env ## precision and recall of the voice activity (needs recordings: SER_DATA)
	$(TEST)/python -m benchmarks.activity $(ACTIVITY)

image: ## build the Docker image ser-service
	docker build --build-arg REVISION=$$(git rev-parse HEAD) --tag ser-service .

image-lab: ## build the Docker image ser-lab, with TensorFlow and librosa
	docker build --build-arg REVISION=$$(git rev-parse HEAD) --target lab --tag ser-lab .

image-test: ## build both targets, run them locked down and as each place does (IMAGE=service for one)
	scripts/image-test $(IMAGE)

arm64-test: test-env ## run the service and its locked packages on emulated 64-bit ARM (on Debian)
	scripts/arm64-test

capacity: test-env ## what a container of 512 MB and one CPU takes (CAPACITY="60 benchmarks/capacity.json")
	PYTHON=$(TEST)/python scripts/image-capacity $(CAPACITY)

release-check: ## can the last commit be released? Clean clone, wheel, licences, bandit, pip-audit
	scripts/release-check

lock: ## write requirements/ anew from pyproject.toml (needs uv; LOCK=--upgrade for newer versions)
	scripts/lock $(LOCK)

clean: ## remove environments, caches and builds
	rm -rf .venv .venv-test build dist .cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

serve-env:
	@scripts/make-venv .venv requirements/serve.txt

test-env:
	@scripts/make-venv .venv-test requirements/test.txt
