# Every target sets up what it needs in .venv the first time; a second call is instant.
# Needed: make, and a python3 of version 3.11 or later (or name one: make demo PYTHON=python3.12).

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.14 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin

define ask
@echo '# $(1)'
@echo '$$ gemma4 ask $(2)'
@$(BIN)/gemma4 ask $(2)
@echo
endef

.PHONY: cluster help demo test lint check wheel-smoke format bench score shots clean nightly soak structure first-hour long clients page-check clients-realtime bench-realtime docs schemas adapter-readers

help:
	@echo "make demo    ask the tiny model about a picture, a sound, and both together"
	@echo "make test    run the tests"
	@echo "make nightly run what takes too long for every change: 10,000 random schedules (SEED=0)"
	@echo "make long    run the tests that take minutes each: trainings that are killed, speculation"
	@echo "make first-hour  play a newcomer in a real terminal: install, get, ask aloud about the screen"
	@echo "make check   formatting, lint, types, import contracts, workflows, tests, the wheel (what CI runs)"
	@echo "make docs    build the documentation as a site in out/site"
	@echo "make bench   measure start-up, and speed and memory against mlx-vlm"
	@echo "make clients run other programs against gemma4 serve (needs node and npm)"
	@echo "make page-check        use the server's page in Chromium, and take pictures of it"
	@echo "make clients-realtime  try real clients of the Realtime API"
	@echo "make adapter-readers   read adapters of ours in mlx-vlm, and in transformers by PEFT"
	@echo "make schemas 200 replies by each of ten schemas, and what a mask costs"
	@echo "make soak    use a server for half an hour, with four clients (MINUTES=30)"
	@echo "make bench-realtime    measure live hearing against hearing after the speech"
	@echo "make shots   make the pictures in docs/ again, of the program with the tiny model"
	@echo "make score   examine the tiny model on pictures and sounds it never met (needs espeak-ng)"

demo: .venv/ready
	$(call ask,a receipt,"what is the total?" --image assets/demo/receipt.png)
	$(call ask,a voice says four zero seven one five,--audio assets/demo/digits.wav)
	$(call ask,the receipt again; a voice asks what the total is,--image assets/demo/receipt.png --audio assets/demo/question.wav)
	$(call ask,another one: white on a dark screen,"how much did I pay?" --image assets/demo/dark.png)
	@echo '# four turns about the first one: typed, spoken, typed, and what it does not say'
	@$(BIN)/python -m tools.demo_turns

# Two processes, a file of tests in one of them, in their order: the few long tests of tests/cluster
# would come last else, in one process. BLAS would take all cores in each.
WORKERS ?= 2
test: export OPENBLAS_NUM_THREADS = 1
test: .venv/ready-dev
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# 10,000 random schedules instead of the usual few: hours on two cores. Others: SEED=10000
SEED ?= 0
PROCESSES ?= 2
nightly: .venv/ready-dev
	@$(BIN)/python -m tools.schedules --schedules 10000 --seed $(SEED) --processes $(PROCESSES)
	@$(BIN)/python -m tools.planted_faults --seed $(SEED)

# every folder on every cut, in processes of this machine
cluster: .venv/ready-dev
	@GEMMA4_WHOLE_CLUSTER=1 $(BIN)/python -m pytest tests/cluster/test_same_logits.py

# a server for half an hour, with four clients: MINUTES=3 for less
MINUTES ?= 30
soak: .venv/ready-dev
	@$(BIN)/python -m tools.soak --minutes $(MINUTES)

# whole trainings with kills, and hundreds of tokens with every way to propose them
long: .venv/ready-dev
	@$(BIN)/python -m pytest -n $(WORKERS) -m long

# a newcomer's way from an installation to a spoken question about the screen, in out/first-hour
first-hour: .venv/ready-dev
	@$(BIN)/python -m tools.first_hour

structure: .venv/ready-dev
	@$(BIN)/python -m tools.structure

lint: .venv/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/zizmor --offline --quiet .github

# the documentation as a site in out/site; any warning is an error
docs: .venv/ready-dev
	@$(BIN)/zensical build --clean --strict

check: lint docs test wheel-smoke

# the wheel in an empty environment, outside the clone
wheel-smoke: .venv/bin/python
	@rm -rf dist .venv-wheel
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@$(PYTHON) -m venv .venv-wheel
	@.venv-wheel/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	@.venv-wheel/bin/python tools/wheel_smoke.py .venv-wheel/bin/gemma4

format: .venv/ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/ready .venv-peer/ready
	@$(BIN)/python bench/startup.py
	@$(BIN)/python bench/peer.py

shots: .venv/ready-dev
	@$(BIN)/python -m docs.film

clients: .venv/ready-dev .venv-clients/ready
	@$(BIN)/python -m tools.clients.run .venv-clients/bin/python out/clients

score: .venv/ready-evaluate
	@$(BIN)/python -m tools.score_tiny

# a real Chromium, with a microphone that plays a sound: the page at /
page-check: .venv/ready-dev
	@PYTHONPATH=. $(BIN)/python -m tools.page_check

# clients of the Realtime API, in an environment of their own
clients-realtime: .venv/ready-dev .venv-realtime/ready
	@PYTHONPATH=. $(BIN)/python -m tools.realtime_clients

# replies of the tiny model by ten schemas at temperature 1, and what a mask costs: REPLIES=20 for less
REPLIES ?= 200
schemas: .venv/ready-dev
	@$(BIN)/python bench/constrained.py --replies $(REPLIES)

# an adapter of ours with text, a picture and sound in three other programs: their logits are ours
adapter-readers: .venv/ready .venv-peer/ready .venv-peft/ready
	@set -e; for kind in lora dora; do echo "$$kind:"; \
		$(BIN)/python -m tools.adapter_readers ours out/readers/$$kind --kind $$kind; \
		$(BIN)/python -m tools.adapter_readers mlx-lm out/readers/$$kind; \
		PYTHONPATH=. .venv-peer/bin/python tools/adapter_readers.py mlx-vlm out/readers/$$kind; \
		PYTHONPATH=. .venv-peft/bin/python tools/adapter_readers.py peft out/readers/$$kind; done

bench-realtime: .venv/ready-dev
	@PYTHONPATH=. $(BIN)/python bench/realtime.py

.venv-realtime/ready:
	@echo "Installing the clients into .venv-realtime and out/realtime (once) ..." >&2
	@$(PYTHON) -m venv .venv-realtime
	@.venv-realtime/bin/python -m pip install --quiet --disable-pip-version-check \
		openai==3.57.0 websockets pipecat-ai==1.14.0 livekit-agents==1.8.9 \
		livekit-plugins-openai==1.8.9 openai-agents==0.24.0
	@mkdir -p out/realtime && cd out/realtime && npm install --silent --no-fund --no-audit \
		openai@7.59.0 @openai/agents-realtime@0.20.0 ws@8.23.0
	@touch $@

clean:
	rm -rf .venv .venv-clients .venv-realtime .venv-peer .venv-peft .venv-wheel dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later was not found. Mac: brew install python@3.13." \
		"Debian, Ubuntu: apt install python3 python3-venv." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "A virtual environment could not be made." \
		"Debian, Ubuntu: apt install python3-venv." >&2; exit 1; }

INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

.venv/ready: pyproject.toml | .venv/bin/python
	@echo "Installing into .venv (once) ..." >&2
	@$(INSTALL) .
	@touch $@

.venv/ready-dev: pyproject.toml | .venv/bin/python
	@echo "Installing into .venv, with what the tests need (once) ..." >&2
	@$(INSTALL) ".[dev,video,evaluate,pocketsphinx]"
	@touch $@ .venv/ready .venv/ready-evaluate

.venv/ready-evaluate: pyproject.toml | .venv/bin/python
	@echo "Installing into .venv, with what the examination needs (once) ..." >&2
	@$(INSTALL) ".[evaluate]"
	@touch $@ .venv/ready

# programs of others, by the versions that docs/serve.md names
.venv-clients/ready:
	@echo "Installing other programs into .venv-clients and out/clients (once) ..." >&2
	@$(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check llm==0.36 \
		litellm==1.110.2 langchain-openai==1.7.4 "pydantic-ai-slim[openai]==2.68.0"
	@mkdir -p out/clients && cd out/clients && npm install --silent --no-fund --no-audit \
		openai@7.59.0 ai@6.0.326 @ai-sdk/openai-compatible@2.0.92 @mariozechner/pi-coding-agent@0.73.1
	@touch $@

# the program that the benchmarks compare with, in an environment of its own
.venv-peer/ready:
	@echo "Installing mlx-vlm into .venv-peer (once) ..." >&2
	@$(PYTHON) -m venv .venv-peer
	@.venv-peer/bin/python -m pip install --quiet --disable-pip-version-check \
		"mlx-vlm==0.7.10" "mlx==0.32.4" "mlx[cpu]==0.32.4; sys_platform == 'linux'"
	@touch $@

# transformers with PEFT, which reads adapters for it
.venv-peft/ready:
	@echo "Installing transformers and PEFT into .venv-peft (once) ..." >&2
	@$(PYTHON) -m venv .venv-peft
	@.venv-peft/bin/python -m pip install --quiet --disable-pip-version-check \
		torch "transformers==5.24.0" "peft==0.21.2" pillow torchvision platformdirs
	@touch $@
