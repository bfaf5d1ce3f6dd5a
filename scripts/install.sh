#!/usr/bin/env bash
# Installs what builds and runs engines, without torch: in Dockerfile, in Dockerfile.jetson, and on a machine as it is.
# TensorRT itself comes with the machine or the image, and the virtual environment sees the system's Python packages.
#
#   scripts/install.sh [--venv FOLDER] [--python PYTHON] [--architectures LIST] [--cuda MAJOR]
#                      [--constraints FILE] STEP...
#
# Steps:
#   plugin    compile the StripGate plugin (CMake, nvcc, g++)
#   packages  make the virtual environment and install LGEU-ReID and what its runtime needs
#   check     say what is there, and start each program
#   test      install pytest and run the tests that need neither torch nor a GPU
#
# Options:
#   --venv           the virtual environment; default: .venv
#   --python         the Python that makes it; default: python3
#   --architectures  GPUs to compile for, e.g. 87 or "89;90"; default: all that the compiler knows
#   --cuda           CUDA's major version, 12 or 13; default: that of nvcc
#   --constraints    versions for pip to keep to; on a Jetson: scripts/jetpack6-constraints.txt
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv python=python3 architectures='' cuda='' constraints=''
steps=()

fail() {
    echo "install: error: $*" >&2
    exit 2
}

cuda_major() { # of nvcc, which is often not on PATH, JetPack's among them
    local nvcc
    nvcc=$(PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin command -v nvcc) || return 0
    "$nvcc" --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p'
}

pip_install() {
    "$venv/bin/python" -m pip install --disable-pip-version-check ${constraints:+--constraint "$constraints"} "$@"
}

plugin() {
    "$root/scripts/build_plugin.sh" "-DSTRIP_GATE_ARCHITECTURES=$architectures"
}

packages() {
    # cuda-python is of the same major version as the CUDA that the driver and TensorRT are of; 12.6 is JetPack 6's.
    local cuda_python
    case ${cuda:=$(cuda_major)} in
    12) cuda_python='cuda-python>=12.6,<13' ;;
    13) cuda_python='cuda-python>=13,<14' ;;
    '') fail "nvcc is not here to tell CUDA's version; give it with --cuda 12 (JetPack 6) or --cuda 13" ;;
    *) fail "CUDA $cuda; expected 12 or 13, which TensorRT 10.3 to 11 are built for" ;;
    esac
    "$python" -m venv --system-site-packages "$venv" ||
        fail "$python cannot make a virtual environment; on Ubuntu and Debian: apt-get install python3-venv"
    pip_install --editable "${root}[deploy]" "$cuda_python"
}

check() {
    "$venv/bin/python" - "$root/engines/plugin/build/libstrip_gate.so" <<'PYTHON'
import ctypes
import importlib
import pathlib
import platform
import sys

print(f"Python {platform.python_version()} on {platform.platform()}")
for module in ("numpy", "cv2", "onnx", "onnxruntime", "cuda.bindings"):
    print(f"{module} {importlib.import_module(module).__version__}")
try:
    print(f"tensorrt {importlib.import_module('tensorrt').__version__}")
except ImportError as error:  # a Jetson's containers get its libraries when they run, not while they are built
    print(f"tensorrt cannot be imported here: {error}")
library = pathlib.Path(sys.argv[1])
ctypes.CDLL(str(library))
print(f"{library}: {library.stat().st_size:,} bytes")
PYTHON
    "$venv/bin/lgeu" --help >/dev/null
    "$venv/bin/python" "$root/runtime/infer.py" --help >/dev/null
}

test_() {
    pip_install --editable "${root}[test]"
    (cd "$root" && "$venv/bin/python" -m pytest -m 'not gpu' tests/runtime tests/engines tests/eval)
}

while (($#)); do
    case $1 in
    --venv | --python | --architectures | --cuda | --constraints)
        (($# > 1)) || fail "$1 needs a value"
        declare "${1#--}=$2"
        shift 2
        ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    plugin | packages | check) steps+=("$1") && shift ;;
    test) steps+=(test_) && shift ;;
    *) fail "unknown step or option $1; see --help" ;;
    esac
done
[[ $venv == /* ]] || venv=$PWD/$venv # a step may change folders
((${#steps[@]})) || fail "no step given; expected one or more of plugin, packages, check, test"
for step in "${steps[@]}"; do
    "$step"
done
