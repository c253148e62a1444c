# Every target makes its own .venv when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo train test check bench links clean

demo: $(READY)            ## train and test configs/quickstart.yaml on generated data
	$(BIN)/python tools/train.py configs/quickstart.yaml

train: $(READY)           ## train and test configs/tanh_bn.yaml on MovieLens-1M
	$(BIN)/python tools/train.py configs/tanh_bn.yaml

test: $(READY) links      ## run the tests
	$(BIN)/python -m pytest

check: $(READY) links     ## lint, types, import layers, doctests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p towerzoo.registry -p towerzoo.datasets -p towerzoo.towers -p towerzoo.tools -p towerzoo.benchmarks
	PYTHONPATH=.links $(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_doctests.py

bench: $(READY)           ## measure speed; ratios within one run
	$(BIN)/python -m pytest benchmarks --benchmark-only

links:                    ## the namespace as links, for type checkers
	@mkdir -p .links/towerzoo
	@for folder in registry datasets towers tools benchmarks configs; do ln -sfn ../../$$folder .links/towerzoo/$$folder; done

clean:
	rm -rf $(VENV) .links build dist *.egg-info

$(READY): setup.py pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
