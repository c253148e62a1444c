# Every target makes its own .venv when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS_VENV ?= .venv-peers
LOWEST_VENV ?= .venv-lowest

.PHONY: demo train test test-lowest check bench bench-quick bench-peers links clean

demo: $(READY)            ## train and test configs/quickstart.yaml on generated data, and recommend
	$(BIN)/python tools/train.py configs/quickstart.yaml
	@echo "\ntools/recommend.py runs/quickstart --user 42"
	@$(BIN)/python tools/recommend.py runs/quickstart --user 42

train: $(READY)           ## train and test configs/tanh_bn.yaml on MovieLens-1M
	$(BIN)/python tools/train.py configs/tanh_bn.yaml

test: $(READY) links      ## run the tests, a process a core
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

test-lowest: $(LOWEST_VENV)/.ready links  ## run the tests with the lowest version of each dependency, but for exports
	$(LOWEST_VENV)/bin/python -m pytest --numprocesses auto --dist loadfile

check: $(READY) links     ## lint, types, import layers, doctests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p towerzoo
	cd .links && ../$(BIN)/lint-imports --config ../pyproject.toml  # where towerzoo is whole
	$(BIN)/python -m pytest -q tests/test_doctests.py

bench: $(READY)           ## run all suites and write benchmarks/results
	$(BIN)/python tools/measure/benchmark.py run

bench-quick: $(READY)     ## a quick look at all suites, which writes nothing
	$(BIN)/python -m pytest benchmarks/suites --benchmark-only --benchmark-quiet --quick

bench-peers: $(READY) $(PEERS_VENV)/.ready  ## measure TowerZoo and its peers in turn; ARGS="--quick" for a first look
	PEERS_VENV=$(PEERS_VENV) $(BIN)/python tools/measure/benchmark.py peers $(ARGS)

links:                    ## the namespace as links, for type checkers
	@mkdir -p .links/towerzoo
	@for folder in registry datasets towers tools benchmarks configs; do ln -sfn ../../$$folder .links/towerzoo/$$folder; done
	@for file in towerzoo/*; do ln -sfn ../../$$file .links/towerzoo/$$(basename $$file); done

clean:
	rm -rf $(VENV) $(LOWEST_VENV) .links build dist *.egg-info

$(READY): setup.py pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# Without the extra `export`, which needs a newer torch than the rest.
$(LOWEST_VENV)/.ready: setup.py pyproject.toml constraints-lowest.txt
	test -x $(LOWEST_VENV)/bin/python || $(PYTHON) -m venv $(LOWEST_VENV)
	$(LOWEST_VENV)/bin/python -m pip install --quiet --constraint constraints-lowest.txt --editable ".[test]"
	touch $@

# A peer that cannot be installed is reported and tried again the next time; the others are installed.
$(PEERS_VENV)/.ready: benchmarks/peers/requirements.txt
	test -x $(PEERS_VENV)/bin/python || $(PYTHON) -m venv $(PEERS_VENV)
	@touch $@
	@for peer in recbole torch-rechub "librecommender scikit-learn tensorflow-cpu"; do \
		$(PEERS_VENV)/bin/python -m pip install --quiet --constraint $< numpy pandas setuptools torch $$peer \
			|| { echo "$$peer could not be installed; the others go on"; rm -f $@; }; \
	done
