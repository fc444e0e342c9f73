# The maintained forks in .venv, or the original packages in .venv-openmmlab: make test STACK=openmmlab
STACK ?= onedl
VENV ?= $(if $(filter openmmlab,$(STACK)),.venv-openmmlab,.venv)
# The first Python that suits; another one in an environment of its own: make test PYTHON=python3.12 VENV=.venv-3.12
PYTHONS := 3.11 3.10$(if $(filter onedl,$(STACK)), 3.12)
PYTHON ?= $(shell for version in $(PYTHONS); do python$$version -c '' 2>&- && echo python$$version && exit; done; echo python3)
PINS := requirements/$(STACK).txt
MMCV := $(shell grep -oE '^(onedl-)?mmcv==[^ ]+' $(PINS))
SITE := $(VENV)/lib/python3*/site-packages
UV := $(VENV)/bin/uv
UV_INSTALL := $(UV) pip install --python $(VENV)/bin/python --no-deps $(if $(WHEELHOUSE),--find-links '$(WHEELHOUSE)')

.PHONY: packages install demo demo-photos demo-det test test-all bench bench-gpu docs wheel lint check format requirements

install: packages  ## the whole set-up into $(VENV); again: a no-op, or the end of what was cut short
	@tools/misc/install_mmcv.sh $(VENV)/bin/python $(MMCV)
	@[ $(VENV)/checked -nt $(SITE) ] || { $(VENV)/bin/python -m mmasl.check_env && touch $(VENV)/checked; }

demo: packages  ## the main job; without compiled ops, which it does not need
	@[ -d $(SITE)/mmcv ] || $(UV_INSTALL) $(MMCV)
	$(VENV)/bin/python tools/demo.py

packages: $(UV)  # all but mmcv, which comes with or without compiled ops
	@[ '$(origin PYTHON)' = file ] || [ "$$($(PYTHON) -V)" = "$$($(VENV)/bin/python -V)" ] || \
	{ echo "error: $(VENV) has $$($(VENV)/bin/python -V). Remove it, or give another: VENV=.venv-other" >&2; exit 1; }
	@grep -v '^$(MMCV)' $(PINS) | $(UV_INSTALL) -r -
	@[ -e mmasl/.mim/tools ] && { [ -e mmasl/ops/softmax_asymmetric_loss/_cpu.so ] || ! command -v g++ > /dev/null; } || \
	again='--reinstall-package mmasl'; echo '-e .' | $(UV_INSTALL) --no-build-isolation $$again -r -

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] not in "$(PYTHONS)".split())' || \
	{ echo 'error: $(STACK) needs Python $(PYTHONS), $(PYTHON) is another. Run: make install PYTHON=python3.11' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q uv==0.13.9

demo-photos: packages  ## the main job on photographs, Pascal VOC 2007 in DATA, which is downloaded if it is missing
	@[ -d $(SITE)/mmcv ] || $(UV_INSTALL) $(MMCV)
	$(VENV)/bin/python tools/demo_photos.py $(if $(DATA),'$(DATA)')

demo-det: install  ## the detection job: focal loss and ASL in FCOS
	$(VENV)/bin/python tools/demo_det.py

test: install lint  ## the set-up, the style checks and all tests
	$(VENV)/bin/python -m pytest -n 2

lint: packages  ## the style and type checks
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

test-all: test  ## and the slow ones: every config at full depth, minutes each
	$(VENV)/bin/python -m pytest -m slow

bench: install  ## every backend of the loss against its peers, then the loss in a training step
	$(VENV)/bin/python tools/benchmarks/loss.py
	$(VENV)/bin/python tools/benchmarks/loss_in_training.py

bench-gpu: install  ## a GPU in under eight minutes: the tests that are for one, speed, memory, training steps
	$(VENV)/bin/python tools/benchmarks/gpu.py

docs: install  ## the documentation as pages in docs/_build; a warning or a dead link is an error
	@$(VENV)/bin/python -c 'import sphinx' 2>&- || \
	{ echo 'error: the pages need Python 3.11 or 3.12. Run: make docs PYTHON=python3.11 VENV=.venv-3.11' >&2; exit 1; }
	$(VENV)/bin/python -m sphinx -q -W --keep-going -c docs . docs/_build
	@echo file://$(CURDIR)/docs/_build/docs/index.html

wheel: packages  ## a wheel with the compiled library, for every Python 3 on Linux
	rm -rf build/wheel && $(VENV)/bin/python -m build --wheel --no-isolation --outdir build/wheel
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(VENV)/bin/auditwheel repair --plat manylinux_2_28_$(shell uname -m) -w dist build/wheel/*.whl

check:  ## versions and known troubles of the environment
	$(VENV)/bin/python -m mmasl.check_env

format:
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

requirements: $(UV)  ## the exact pins of both stacks, from requirements/*.in
	for stack in onedl openmmlab; do $(UV) pip compile -q --universal --python-version 3.10 --annotation-style line \
		--custom-compile-command 'make requirements' requirements/$$stack.in -o requirements/$$stack.txt; done
