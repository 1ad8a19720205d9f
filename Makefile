# Targets install what they need into .venv and nothing elsewhere; a second call installs nothing.
# Another interpreter: make run PYTHON=python3.12      Another recipe: make run RECIPE=FILE
# Without a GPU, CONTRIBUTING.md says how to save the download of CUDA.

PYTHON ?= python3
RECIPE ?= recipes/vitals_forecast.yaml

export HF_HUB_OFFLINE := 1
unexport PYTHONDONTWRITEBYTECODE  # or each of the many processes compiles everything again

bin := .venv/bin
stamp = .venv/.$(if $(wildcard .venv/.test.stamp),test,$(1)).stamp
pip_install := $(bin)/python -m pip install --quiet --constraint constraints.txt

.PHONY: help run test wheel lint docs constraints
.NOTPARALLEL:

help:  ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

run: $(call stamp,core)  ## Train the main recipe offline, print the verdict and the run's folder
	$(bin)/tsfm-adapt train "$(RECIPE)"

test: .venv/.test.stamp  ## Gates, then all tests on two workers
	$(gates)
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -n 2 --dist worksteal

wheel: .venv/.test.stamp  ## Build the wheel, install it into a clean environment, use it there
	OMP_NUM_THREADS=1 $(bin)/python -m pytest -m slow tests/test_wheel.py

lint: $(call stamp,lint)  ## Gates only: format, lint, types, import contracts
	$(gates)

docs: $(call stamp,docs)  ## Build the documentation into build/site, offline, warnings being errors
	NO_MKDOCS_2_WARNING=1 $(bin)/python -m mkdocs build --strict

constraints:  ## Rewrite constraints.txt from a fresh environment (minutes, 4 GB)
	$(write_constraints)

define gates
$(bin)/ruff format --check .
$(bin)/ruff check .
$(bin)/mypy src
$(bin)/lint-imports
endef

# An interrupted pip leaves packages without a RECORD, its last file, that it then takes for
# installed. Without their dist-info it installs them again.
define environment
@test ! -d .venv/lib || find .venv/lib -name '*.dist-info' ! -exec test -e '{}/RECORD' ';' \
	-prune -exec rm -r '{}' ';'
@$(bin)/python -m pip --version > /dev/null 2>&1 || { $(check_python) && $(PYTHON) -m venv .venv; }
endef

check_python = $(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
	"Python >= 3.11 is needed; $(PYTHON) is %d.%d. Name another: make PYTHON=python3.12 ..." \
	% sys.version_info[:2])'

.venv/.core.stamp: pyproject.toml constraints.txt
	$(environment)
	@echo "Installing the core into .venv: some minutes, 2 GB and more where torch brings CUDA"
	$(pip_install) --editable .
	@touch $@

.venv/.lint.stamp: pyproject.toml constraints.txt
	$(environment)
	@echo "Installing the core and the development tools into .venv: some minutes"
	$(pip_install) --editable '.[dev]'
	@touch $@

.venv/.docs.stamp: pyproject.toml constraints.txt
	$(environment)
	@echo "Installing the core and the documentation's tools into .venv: some minutes"
	$(pip_install) --editable '.[docs]'
	@touch $@

.venv/.test.stamp: pyproject.toml constraints.txt tests/plugin/pyproject.toml
	$(environment)
	@echo "Installing every extra into .venv: some minutes, 3 GB and more where torch brings CUDA"
	$(pip_install) --editable '.[all,dev]'
	$(pip_install) --no-deps momentfm
	$(pip_install) --no-deps --editable tests/plugin
	@touch $@

# torch stays at its version unless one is given (make constraints TORCH=2.14.0); all else is the
# newest that pyproject.toml allows. Left out of the file: tags of a local build (torch's +cpu) and
# the CUDA packages that torch itself pins.
torch = $(or $(TORCH),$(shell sed -n 's/^torch==//p' constraints.txt))
define write_constraints
fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && trap 'exit 1' HUP INT TERM && \
$(PYTHON) -m venv "$$fresh" && "$$fresh/bin/pip" install --quiet torch==$(torch) && \
"$$fresh/bin/pip" install --quiet '.[all,dev]' && \
"$$fresh/bin/pip" install --quiet --no-deps momentfm && \
{ grep '^#' constraints.txt; "$$fresh/bin/pip" freeze | grep -v -E '^(tsfm.adapt|nvidia-|cuda-|triton)' \
	| sed 's/+[^ ]*$$//'; } > "$$fresh/constraints.txt" && \
cp "$$fresh/constraints.txt" constraints.txt && { "$$fresh/bin/pip" check || true; }
endef
