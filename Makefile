# Everything that is done here more than once. `make` alone says what there is.

.DEFAULT_GOAL := help
.PHONY: help setup run test check crash stories runbooks conformance bench fmt docs lock clean

BIN := .venv/bin

# A gateway is five processes of hundreds of modules; where this is set, each of them compiles every one anew.
unexport PYTHONDONTWRITEBYTECODE

help: ## Say what there is.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv and .parts; quick when nothing changed.
	@scripts/setup.sh all

run: ## Start the demo deployment on 127.0.0.1:8080 (PORT=N: another port).
	@scripts/setup.sh run
	@exec $(BIN)/python examples/demo/run.py

test: setup ## Run every test, with the bars of coverage.
	@scripts/test.sh

check: setup ## Format, lint, types, layers, documents, shell.
	@scripts/check.sh

crash: setup ## Kill processes 200 times under load, half under audit.intent: all (KILLS=N: N for each half).
	@AIRLOCK_KILLS=$(or $(KILLS),100) $(BIN)/python -m pytest tests/system/test_crash.py -q -s -p no:randomly

stories: setup ## Play every story of `airlock demo`: an attack, and three broken parts.
	@$(BIN)/python -m pytest tests/system/test_demo*.py -v -p no:randomly

runbooks: setup ## Run the commands of both runbooks, judge every row, write docs/conformance/runbooks.md.
	@$(BIN)/python -m tests.runbooks

conformance: setup ## Run the official MCP suite through a governed gateway, write docs/conformance/mcp.md.
	@$(BIN)/python -m tests.conformance

bench: setup ## What a governed call costs, next to nginx and to other proxies (BENCH_SECONDS, BENCH_ROUNDS, BENCH_PEERS ...).
	@$(BIN)/python bench/run.py

fmt: setup ## Format, and repair what can be repaired.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: setup ## Write the documents that are made from the program.
	@$(BIN)/python scripts/cli_docs.py > docs/cli.md
	@$(BIN)/python -c "from airlock.core.config_docs import render; print(render(), end='')" > docs/configuration.md

lock: setup ## Resolve all dependencies anew.
	@scripts/lock.sh

clean: ## Remove what setup and tests made. The data of a demo run stays.
	rm -rf .venv .parts .cache .coverage .coverage.* .hypothesis .pytest_cache .ruff_cache .import_linter_cache
	find src tests scripts examples bench -name __pycache__ -type d -prune -exec rm -rf {} +
