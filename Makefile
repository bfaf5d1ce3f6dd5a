# make env | plugin | demo | test | edge: each does everything it needs from a fresh clone.
PYTHON ?= python3
CONSTRAINTS ?= constraints.txt
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Where nvcc is even if it is not on the PATH, on a Jetson for one.
export PATH := $(PATH):/usr/local/cuda/bin

.PHONY: env plugin plugin-if-possible demo lint test edge clean

env: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet $(addprefix -c ,$(CONSTRAINTS)) -e '.[dev]'
	touch $@

# CMake decides what is out of date. TensorRT_ROOT names a TensorRT; without one the pinned public headers are fetched.
# Not after env: a Jetson compiles it without torch.
plugin:
	PATH="$(CURDIR)/$(BIN):$$PATH" scripts/build_plugin.sh

# A laptop without the CUDA toolkit runs everything but the engine build, which then says so itself.
plugin-if-possible: env
	@if command -v nvcc >/dev/null && command -v cmake >/dev/null; then $(MAKE) --no-print-directory plugin; \
	else echo "nvcc or cmake not found: the StripGate plugin is not built, engine builds will be named as not run"; fi

demo: env plugin-if-possible
	$(BIN)/lgeu demo --out demo

lint: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile Dockerfile.jetson
	$(BIN)/shellcheck scripts/*.sh .ci/run

# Each process may need 2 GB.
test: lint plugin-if-possible
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

# The install of an edge device, without torch: needs nvcc and CMake.
edge:
	scripts/install_like_docker.sh

clean:
	rm -rf $(VENV) engines/plugin/build demo runs
