# Each target works on a fresh machine that has Python 3.11 and make; it prepares what it needs by itself.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
export OMP_WAIT_POLICY := PASSIVE
export PYTHONSAFEPATH := 1

.PHONY: install demo test check static bench browser database samples clean

install: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.installed            ## simulate, check, train, register, promote, score, serve
	$(BIN)/crsrisk demo $(ARGS)

browser:                            ## Chromium and a Japanese font for the browser tests
	@sh tools/install_browser.sh

database:                           ## PostgreSQL for the tests that read a database
	@sh tools/install_postgres.sh

samples: $(VENV)/.installed         ## data_samples/, made again
	@sh tools/make_samples.sh

test: $(VENV)/.dev browser database ## every test
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q $(ARGS)

static: $(VENV)/.dev                ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: static test                  ## everything that CI runs

bench: $(VENV)/.dev                 ## make bench NAME=features (all without NAME)
	PYTHONPATH=. $(BIN)/python -m benchmarks $(NAME)

clean:
	rm -rf $(VENV) build dist *.egg-info crsrisk_data
