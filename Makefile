# Each target sets up .venv by itself, once. `make demo` needs Python ≥ 3.11; `make PYTHON=python3.12 demo` names one.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
RUN = $(VENV)/bin/python -m

.PHONY: kernels demo test slow check bench docs constraints clean

demo: $(VENV)/.installed
	$(VENV)/bin/unrolled demo

test: $(VENV)/.installed-dev
	$(RUN) pytest

slow: $(VENV)/.installed-dev
	$(RUN) pytest -m slow --timeout 3000

check: $(VENV)/.installed-dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) pytest -q -x tests/test_package.py tests/data

bench: $(VENV)/.installed-dev
	$(VENV)/bin/python benchmarks/layers.py

# The C++ kernels, into the source folder: experimental, used where `layer.implementation = "native"` asks for them.
kernels: $(VENV)/.installed-dev
	$(RUN) pip install -q --disable-pip-version-check -c $(CONSTRAINTS) cmake ninja nanobind
	$(VENV)/bin/cmake -S . -B build/kernels -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(VENV)/bin/ninja \
	  -DPython_EXECUTABLE=$(CURDIR)/$(VENV)/bin/python -DCMAKE_INSTALL_PREFIX=src > /dev/null
	$(VENV)/bin/cmake --build build/kernels > /dev/null
	$(VENV)/bin/cmake --install build/kernels > /dev/null

docs: $(VENV)/.installed-dev
	$(RUN) sphinx -q -W -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "unrolled needs Python 3.11 or newer; name one: make PYTHON=python3.12 demo" >&2; exit 2; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(RUN) pip install -q --disable-pip-version-check -c $(CONSTRAINTS) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(RUN) pip install -q --disable-pip-version-check -c $(CONSTRAINTS) -e ".[dev]"
	@touch $@

constraints: $(VENV)/.installed-dev
	{ head -1 constraints.txt; $(RUN) pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
