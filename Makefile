# `make help` lists what there is. Every target makes .venv first where it is missing.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup repro report tune dashboard ablate share receive test test-slow check format gc ui \
	sync lab compose bench lock

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DO_NOT_TRACK := 1
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
# Two threads that wait by spinning collapse beside another busy process.
export OMP_WAIT_POLICY ?= passive

ARGS ?=
PORT ?= 5000
SOURCES := dcal pipelines benchmarks
# MLflow's database of the work root, which dcal.tracking writes to.
WORK_ROOT := $(or $(DCAL_WORK_ROOT),$(CURDIR))

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: # .venv from requirements.lock; at once where that was done
	@.ci/setup

repro: setup ## run the pipeline of params.yaml: fetch, prepare, train, evaluate, rollout, report
	@python -m pipelines.mend
	@python -m pipelines.watch
	@dvc repro $(ARGS)
	@python -m pipelines.summary

report: setup ## pages of a run: make report RUN=<experiment, commit, MLflow run id or fingerprint>
	@python -m pipelines.report_run "$${RUN:-}" --pictures "$${PICTURES:-}" --last "$${LAST:-5}"

tune: setup ## search settings: make tune PLAN=architecture; see experiments/tune
	@python -m pipelines.mend
	@python -m pipelines.tune.choose "$${PLAN:-}"
	@dvc repro pipelines/tune/dvc.yaml $(ARGS)

ablate: setup ## compare arms over seeds: make ablate GRID=top_r; see experiments/grid
	@python -m pipelines.mend
	@python -m pipelines.ablate.choose "$${GRID:-}"
	@dvc repro pipelines/ablate/dvc.yaml $(ARGS)

dashboard: PORT := 8080
dashboard: setup ## studies on http://127.0.0.1:8080, or make dashboard PORT=8081
	@python -m pipelines.init --port $(PORT) --target dashboard
	@url="$${DCAL_OPTUNA_URL:-sqlite:///$(WORK_ROOT)/optuna.db}"; \
	optuna-dashboard --host 127.0.0.1 --port $(PORT) "$${url#journal://}" $(ARGS)

share: setup ## copy data, model and pages to a DVC remote: make share REMOTE=/a/folder
	@python -m pipelines.mend
	@python -m pipelines.share push "$${REMOTE:-}"

receive: setup ## bring them into a clone: make receive REMOTE=/a/folder [RUN=<another run>]
	@python -m pipelines.mend
	@python -m pipelines.share pull "$${REMOTE:-}" --run "$${RUN:-}"

test: check ## lint, types, fast tests: at most 8 minutes on 2 cores
	@OMP_NUM_THREADS=1 pytest -q -n 2 -m "not slow and not browser and not gpu" $(ARGS)

test-slow: setup ## the rest: whole pipelines, real pictures, Chromium
	@OMP_NUM_THREADS=1 pytest -q -n 2 --dist loadfile -m "(slow or browser) and not gpu" \
		--ignore tests/tracking $(ARGS)
	@# These wait for servers, which beside other tests answer too late.
	@pytest -q -m "(slow or browser) and not gpu" tests/tracking

check: setup ## format, lint, types, import rules, params.yaml against experiments/
	@ruff format --check .
	@ruff check .
	@mypy $(SOURCES)
	@lint-imports --no-logo
	@python -m pipelines.environment --check
	@python -m pipelines.compose --check

format: setup ## rewrite the code in the one format
	@ruff check --fix .
	@ruff format .

gc: setup ## show kept checkpoints and spools, free what may go: make gc ARGS=--dry-run
	@python -m pipelines.gc $(ARGS)

ui: setup ## MLflow's pages on http://127.0.0.1:5000, or make ui PORT=5001
	@python -m pipelines.init --port $(PORT)
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --host 127.0.0.1 --port $(PORT) --workers 1 \
		--backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///$(WORK_ROOT)/mlflow.db}" \
		--default-artifact-root "$(WORK_ROOT)/mlruns" $(ARGS)

sync: setup ## send to MLflow what runs said while it could not be reached
	@python -m pipelines.sync $(ARGS)

lab: PORT := 8888
lab: setup ## the notebooks in JupyterLab on http://127.0.0.1:8888, or make lab PORT=8889
	@python -m pipelines.lab --port $(PORT) $(ARGS)

compose: setup ## write params.yaml: make compose ARGS="preset=smoke model.top_r=0.2"
	@python -m pipelines.compose $(ARGS)

bench: setup ## what DCAL costs beside plain timm: make bench ARGS="--only step"; half an hour
	@python -m benchmarks $(ARGS)

lock: setup ## resolve pyproject.toml anew: requirements.lock and environment.yml
	@python -m pipelines.environment --lock
