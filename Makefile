# The first Python that runs and suits; another one: make install PYTHON=/path/to/python3.12
PYTHON ?= $(shell for python in python3.11 python3.12 python3.10 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$python && exit; \
	done; echo python3)
# The maintained forks in .venv, or the original packages in .venv-openmmlab: make test STACK=openmmlab
STACK ?= onedl
VENV := $(if $(filter openmmlab,$(STACK)),.venv-openmmlab,.venv)
SETUP := $(PYTHON) tools/misc/setup_env.py --stack $(STACK)

.PHONY: install demo demo-det test test-all bench docs lint check format

install:  ## the whole set-up into $(VENV); again: a no-op, or the end of what was cut short
	@$(SETUP) full

demo:  ## the set-up without compiled ops, then the main job
	@$(SETUP) demo
	$(VENV)/bin/python tools/demo.py

demo-det: install  ## the detection job: focal loss and ASL in FCOS
	$(VENV)/bin/python tools/demo_det.py

test: lint  ## the set-up, the style checks and all tests
	$(VENV)/bin/python -m pytest -n 2

lint: install  ## the style checks
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check

test-all: test  ## and the slow ones: every config at full depth, minutes each
	$(VENV)/bin/python -m pytest -m slow

bench: install  ## every backend of the loss against its peers, then the loss in a training step
	$(VENV)/bin/python tools/benchmarks/loss.py
	$(VENV)/bin/python tools/benchmarks/loss_in_training.py

docs:  ## the documentation as pages in docs/_build; a warning or a dead link is an error
	@$(SETUP) docs
	$(VENV)/bin/python -m sphinx -q -W --keep-going -c docs . docs/_build
	@echo file://$(CURDIR)/docs/_build/docs/index.html

check:  ## versions and known troubles of the environment
	$(VENV)/bin/python -m mmasl.check_env

format:
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format
