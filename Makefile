# Targets are the CI steps. `make demo` and `make test` do all their set-up: Python 3.11+ with venv is enough.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test check format lint types contracts docs docs-write sizes bench bench-chat bench-firewall bench-thresholds clean

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	@sh bench/demo.sh $(BIN)/tapwall

test: $(VENV)/.installed
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m "not acceptance and not docker and not slow"

check: $(VENV)/.installed format lint types contracts docs test

format: $(VENV)/.installed
	$(BIN)/ruff format --check .

lint: $(VENV)/.installed
	$(BIN)/ruff check .

types: $(VENV)/.installed
	$(BIN)/mypy

contracts: $(VENV)/.installed
	$(BIN)/lint-imports

docs: $(VENV)/.installed
	$(BIN)/python docs/generate.py --check

docs-write: $(VENV)/.installed
	$(BIN)/python docs/generate.py

bench: $(VENV)/.installed
	$(BIN)/python bench/speed.py

bench-firewall: $(VENV)/.installed
	$(BIN)/python -m bench.firewall

bench-thresholds: $(VENV)/.installed
	$(BIN)/python -m bench.thresholds

bench-chat: $(VENV)/.installed
	$(BIN)/python bench/chat.py

sizes:
	@git ls-files '*.py' | xargs wc -l | sort -rn | sed -n '2,12p'

clean:
	rm -rf $(VENV) report build dist
