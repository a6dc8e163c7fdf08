# Each target sets up .venv by itself, once. `make demo` needs Python ≥ 3.11; `make PYTHON=python3.12 demo` names one.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
RUN = $(VENV)/bin/python -m
# The build tools come from .venv too, so that they are pinned and a rebuild compiles only what changed.
INSTALL = $(RUN) pip install -q --disable-pip-version-check --no-build-isolation -c $(CONSTRAINTS)

SANITIZED = build/sanitize
SANITIZER = PYTHONPATH=$(SANITIZED)/site ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
  LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)"

.PHONY: demo test slow check bench kernels sanitize neon docs constraints clean

demo: $(VENV)/.installed
	$(VENV)/bin/unrolled demo

# Two processes of one thread each; what has to do with threads sets them itself.
test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(RUN) pytest -n 2 --dist loadfile

slow: $(VENV)/.installed-dev
	$(RUN) pytest -m slow --timeout 3000

check: $(VENV)/.installed-dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) pytest -q -x tests/test_package.py tests/data

bench: $(VENV)/.installed-bench
	$(VENV)/bin/python benchmarks/layers.py
	$(VENV)/bin/python benchmarks/training.py

# The C++ kernels anew, and what is wrong with them: every other target goes on without them where they do not compile.
kernels: $(VENV)/.tools
	UNROLLED_REQUIRE_KERNELS=1 $(INSTALL) --no-deps -e .

# The tests of the kernels under AddressSanitizer and UBSan, against a second build of the package (the first may be old).
sanitize: $(if $(wildcard $(VENV)/.installed-dev),,$(VENV)/.installed-dev)
	rm -rf $(SANITIZED)/site
	UNROLLED_REQUIRE_KERNELS=1 CXX=$(CXX) $(INSTALL) --no-deps --target $(SANITIZED)/site \
	  --config-settings=build-dir=$(SANITIZED) --config-settings=cmake.build-type=Debug \
	  --config-settings=cmake.define.UNROLLED_SANITIZE=ON .
	@isas=$$($(SANITIZER) $(VENV)/bin/python -c "from unrolled.kernels import _native as n; \
	    assert '$(SANITIZED)' in n.__file__, n.__file__; print(*n.isas())") || exit 1; \
	for isa in $$isas; do \
	  echo "$$isa:"; \
	  $(SANITIZER) UNROLLED_ISA=$$isa $(RUN) pytest -q -p no:faulthandler --capture=sys tests/kernels tests/training/test_direct.py || exit 1; \
	done

# The baseline kernels compiled for 64-bit Arm, and run where there is an emulator.
ARM_CXX ?= aarch64-linux-gnu-g++
neon: $(VENV)/.tools
ifeq ($(shell command -v $(ARM_CXX)),)
	@echo "skipped: there is no $(ARM_CXX) (Debian: g++-aarch64-linux-gnu)"
else
	PATH=$(abspath $(VENV))/bin:$$PATH cmake -S . -B build/neon -G Ninja --log-level=WARNING -DUNROLLED_CHECK=ON \
	  -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=$(ARM_CXX) -DCMAKE_EXE_LINKER_FLAGS=-static
	$(VENV)/bin/cmake --build build/neon
	@if command -v qemu-aarch64 > /dev/null; then qemu-aarch64 build/neon/check; \
	  else echo "compiled, not run: there is no qemu-aarch64 (Debian: qemu-user)"; fi
endif

docs: $(VENV)/.installed-dev
	$(RUN) sphinx -q -W -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

$(VENV)/.tools: $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "unrolled needs Python 3.11 or newer; name one: make PYTHON=python3.12 demo" >&2; exit 2; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) scikit-build-core nanobind cmake ninja
	@touch $@

$(VENV)/.installed-dev: EXTRAS = [dev]
$(VENV)/.installed $(VENV)/.installed-dev: $(VENV)/.tools pyproject.toml $(CONSTRAINTS) CMakeLists.txt $(wildcard csrc/*)
	@echo "Installing into $(VENV), and compiling the kernels: some minutes." >&2
	$(INSTALL) -e ".$(EXTRAS)"
	@$(VENV)/bin/python -c 'import unrolled.kernels._native' 2> /dev/null || \
	  echo "No C++ kernels: they did not compile here. \`make kernels\` tells why." >&2
	@touch $(VENV)/.installed $@

# Apart from the others, which need neither Keras nor its backends.
$(VENV)/.installed-bench: $(VENV)/.installed-dev
	$(INSTALL) -e ".[dev,bench]"
	@touch $@

constraints: $(VENV)/.installed-bench
	{ head -1 constraints.txt; $(RUN) pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) build src/unrolled/kernels/_native*.so docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
