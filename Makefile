help: ## this list (needs Python 3.11, 3.12 or 3.13; the rest is installed into .venv, what each target needs)
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-13s %s\n", $$1, $$2}'
PROJECT := pyproject.toml runtime/likeness_lab/pyproject.toml .ci/install
.venv/demo: runtime/requirements.lock $(PROJECT)
	@.ci/install demo
.venv/test: .venv/demo tests/requirements.lock
	@.ci/install test
.venv/ready: .venv/test requirements.lock
	@.ci/install ready
.PHONY: help install demo check test coverage slow-test cluster-test generate lock
install: .venv/ready ## everything into .venv (quick when nothing changed)
demo: .venv/demo ## teach a subject from one picture, here and now; leaves .demo/contact-sheet.png
	@mkdir -p .demo
	.venv/bin/likeness run examples/01-one-picture.yaml --contact-sheet .demo/contact-sheet.png >.demo/status.yaml || { cat .demo/status.yaml; exit 1; }
	@echo 'The picture, and what the model drew before and after: .demo/contact-sheet.png'
	@echo 'Your own picture: change subject.images in examples/01-one-picture.yaml, then `make demo` again.'
	@echo 'The files for diffusers, ComfyUI and A1111 are listed in .demo/status.yaml; what else it takes: .venv/bin/likeness run --help'
check: .venv/ready ## format, lint, types, layers, generated files
	.venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy && .venv/bin/lint-imports && .ci/generated
test: .venv/test ## the unit suite
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -m "not cluster and not slow and not browser" --numprocesses 2 --dist worksteal
coverage: export PYTEST_ADDOPTS := --cov --cov-report=term
coverage: test ## the unit suite, and how much of the code it runs
slow-test: .venv/test ## what the unit suite leaves out to stay short
	.venv/bin/python -m pytest -m slow
cluster-test: .venv/test ## on a real, disposable Kubernetes cluster
	tests/cluster/run
generate: .venv/demo ## the CRDs, from crds/likeness_api
	.venv/bin/python -m likeness_api.generate .
LOCK := uv pip compile --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet \
	--no-emit-package torch --no-emit-package likeness-tuner --no-emit-package likeness-tuner-lab
WHOLE := pyproject.toml runtime/likeness_lab/pyproject.toml --extra operator --extra runtime --group test
lock: ## requirements.lock and its three parts, anew from the two pyproject.toml (needs uv)
	$(LOCK) $(WHOLE) --group check --output-file requirements.lock
	$(LOCK) $(WHOLE) --constraint requirements.lock --output-file tests/requirements.lock
	$(LOCK) pyproject.toml --extra operator --constraint requirements.lock --output-file operator/requirements.lock
	$(LOCK) pyproject.toml --extra runtime --constraint requirements.lock --output-file runtime/requirements.lock
