# Everything happens in .venv; `make demo` and `make test` set it up themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN ?= runs/demo

.PHONY: help install demo test test-full gpu-tiny wheelhouse lint type docs sbom clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

install: $(VENV)/.installed  ## create .venv with pinned dependencies

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install  ## the whole story on this CPU, in runs/demo
	BIN=$(BIN) RUN=$(RUN) bash examples/demo.sh

test: install  ## unit and integration tests
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

test-full: install  ## also the slow ones
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

gpu-tiny: install  ## all stages of the GPU run book on this CPU, from the start
	rm -rf runs/gpu-tiny
	$(BIN)/python benchmarks/gpu/run.py --tiny -o runs/gpu-tiny

wheelhouse: install  ## wheels for a GPU machine without a package index, in parts
	$(BIN)/python benchmarks/gpu/wheelhouse.py -o wheelhouse

lint: install  ## ruff and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

type: install  ## mypy, strict
	$(BIN)/mypy

docs: install  ## regenerate what README and docs take from benchmarks/results
	$(BIN)/python benchmarks/readme_status.py
	$(BIN)/python benchmarks/model_table.py
	$(BIN)/python release/soup.py

sbom: install  ## bills of materials (CycloneDX) of this version, in sbom/
	$(BIN)/python release/sbom.py -o sbom

clean:  ## remove what make demo wrote
	rm -rf $(RUN)
