# `make serve` needs only Python ≥ 3.11 and make; `make test` runs everything.
PYTHON ?= python3
SERVE := .venv
DEV := .venv-dev
PIP := -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: serve test lint demo experiment-smoke bench openapi clean

serve: $(SERVE)/ready
	$(SERVE)/bin/eclip serve --demo

test: lint
	$(DEV)/bin/python -m pytest

lint: $(DEV)/ready
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports
	$(DEV)/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml deploy/compose.*.yaml

demo: $(DEV)/ready
	$(DEV)/bin/eclip-train demo

experiment-smoke: $(DEV)/ready
	$(DEV)/bin/python -m training.experiments.phantom_gaze.run --smoke
	$(DEV)/bin/python -m training.experiments.phantom_gaze.analyse \
	  --results runs/phantom_gaze_smoke/results.parquet --out runs/phantom_gaze_smoke

bench: $(DEV)/ready .venv-infinity/ready .venv-litserve/ready
	$(DEV)/bin/python -m tests.benchmarks.serving --infinity .venv-infinity/bin/infinity_emb \
	  --litserve .venv-litserve/bin/python

openapi: $(DEV)/ready
	$(DEV)/bin/python -m tests.contract.openapi_golden

$(SERVE)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/python $(PIP) -e ".[cpu]"
	touch $@

$(DEV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python $(PIP) -e ".[cpu,train,test]"
	touch $@

.venv-infinity/ready:
	$(PYTHON) -m venv .venv-infinity
	.venv-infinity/bin/python -m pip install --quiet "infinity-emb[server,torch,vision]==0.0.78" \
	  "click<8.2" "transformers<4.49" "optimum<2" aiohttp
	touch $@

.venv-litserve/ready: constraints.txt
	$(PYTHON) -m venv .venv-litserve
	.venv-litserve/bin/python $(PIP) litserve==0.2.19 onnxruntime pillow
	touch $@

clean:
	rm -rf $(SERVE) $(DEV) .venv-infinity .venv-litserve var
