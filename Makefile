# make demo    the main job on the trained checkpoint in fixtures/
# make test    all tests: the fast ones, then those that start PyTorch, TensorFlow and JAX
# make check   lint, format, types
# make bench   time and memory against transformers and dd, into benchmarks/RESULTS.md

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= demo
# Each framework test runs in one of two processes, with one thread each: on two cores, threads of tiny models
# that wait for each other by spinning take ten times as long (measured).
JOBS   ?= 2

.PHONY: demo test check bench clean

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ckptconv needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@

demo: $(VENV)/installed
	@rm -rf $(DEMO)
	$(BIN)/ckptconv inspect fixtures/dates
	$(BIN)/ckptconv split fixtures/dates $(DEMO)/parts
	$(BIN)/ckptconv pt2tf fixtures/dates $(DEMO)/tf
	$(BIN)/ckptconv pt2flax fixtures/dates $(DEMO)/flax
	$(BIN)/ckptconv verify fixtures/dates $(DEMO)/tf
	$(BIN)/ckptconv verify fixtures/dates $(DEMO)/flax
	$(BIN)/python fixtures/show_dates.py fixtures/dates $(DEMO)/tf $(DEMO)/flax

test: $(VENV)/installed
	$(BIN)/python -m pytest -m "not frameworks" -n $(JOBS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m frameworks -n $(JOBS) --dist loadgroup

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed
	$(BIN)/python benchmarks/bench.py

clean:
	rm -rf $(VENV) $(DEMO) benchmarks/work .pytest_cache .mypy_cache .ruff_cache
