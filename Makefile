help: ## this list (needs Python 3.11 and pip; the rest is installed into .venv from requirements.lock)
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-13s %s\n", $$1, $$2}'
PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH := torch==2.13.0
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
PIP := .venv/bin/python -m pip --disable-pip-version-check install --quiet
# torch is apart from the lock: a CUDA build where a GPU is, else a CPU build, never gigabytes of CUDA without a GPU.
ifneq ($(wildcard /dev/nvidia0),)
INSTALL_TORCH := $(PIP) $(TORCH)
else ifeq ($(shell uname -s),Linux)
INSTALL_TORCH := $(PIP) --no-deps $(TORCH)+cpu 2>/dev/null || $(PIP) --no-deps --index-url $(TORCH_CPU_INDEX) $(TORCH)+cpu
else
INSTALL_TORCH := $(PIP) --no-deps $(TORCH)
endif
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) --no-deps --require-hashes -r requirements.lock
	$(INSTALL_TORCH)
	$(PIP) --no-deps --no-build-isolation --editable .
	touch $@
.PHONY: help install demo check test slow-test cluster-test generate lock
install: .venv/ready ## everything into .venv (quick when nothing changed)
demo: .venv/ready ## teach a subject from one picture, here and now; leaves .demo/contact-sheet.png
	.venv/bin/likeness run examples/01-one-picture.yaml --contact-sheet .demo/contact-sheet.png
check: .venv/ready ## format, lint, types, layers, generated files
	.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports && .ci/generated
test: .venv/ready ## the unit suite
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m "not cluster and not slow" --numprocesses 2 --dist worksteal
slow-test: .venv/ready ## what the unit suite leaves out to stay under a minute
	.venv/bin/python -m pytest -m slow
cluster-test: .venv/ready ## on a real, disposable Kubernetes cluster
	tests/cluster/run
generate: .venv/ready ## the CRDs, from crds/likeness_api
	.venv/bin/python -m likeness_api.generate .
LOCK := uv pip compile pyproject.toml --python-version 3.11 --generate-hashes --no-emit-package torch --no-annotate --no-header --quiet
lock: ## requirements.lock and the images' subsets of it, anew from pyproject.toml (needs uv)
	$(LOCK) --all-extras --group dev --output-file requirements.lock
	$(LOCK) --extra operator --constraint requirements.lock --output-file operator/requirements.lock
	$(LOCK) --extra runtime --constraint requirements.lock --output-file runtime/requirements.lock
