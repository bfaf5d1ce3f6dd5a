#!/usr/bin/env bash
# Checks the StripGate plugin on this machine's GPU, without TensorRT and without network: builds it for this GPU, runs
# the tests that need one, watches a reduced grid with compute-sanitizer, and measures. It also checks what the runtime
# asks of a GPU: memory, streams, events, graphs. Everything is written to a folder.
#
#   scripts/check_gpu.sh [--out FOLDER] [--architecture 87] [STEP...]      default: check-gpu, what nvidia-smi says, all
#
# Steps: build tests device memcheck racecheck initcheck synccheck benchmark. Each takes minutes at most, and what passed is not
# run again on the same sources and GPU, so that an interrupted check goes on where it was.
#
# engines/plugin/build then holds a library for this GPU only.
#
# Needs nvcc, CMake, and Python with NumPy, pytest, onnx and onnxruntime; torch for the benchmark; OpenCV and
# cuda-python or pycuda for the step `device`. TensorRT's headers are
# taken from TensorRT_ROOT, the system, or engines/plugin/build/tensorrt-headers: where there is no network, copy that
# folder from a machine on which scripts/fetch_tensorrt_headers.sh ran.
# Exit status: 0 all steps passed or were skipped for a stated reason, 1 one failed, 2 something is missing here.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
all=(build tests device memcheck racecheck initcheck synccheck benchmark)
limit=540 # seconds a step may take
out=check-gpu
architecture=''
steps=()
while (($#)); do
    case $1 in
    --out | --architecture)
        (($# > 1)) || { echo "check_gpu: error: $1 needs a value" >&2; exit 2; }
        declare "${1#--}=$2"
        shift 2
        ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *)
        [[ " ${all[*]} " == *" $1 "* ]] || { echo "check_gpu: error: no step '$1'; there are: ${all[*]}" >&2; exit 2; }
        steps+=("$1")
        shift
        ;;
    esac
done
((${#steps[@]})) || steps=("${all[@]}")

if ! gpu=$(nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader --id=0 2>/dev/null); then
    echo "check_gpu: error: there is no usable NVIDIA GPU here (nvidia-smi finds none)" >&2
    exit 2
fi
architecture=$(tr -d ' .' <<<"${architecture:-$(cut -d, -f2 <<<"$gpu")}")
if ! [[ $architecture =~ ^[0-9]+$ ]]; then
    # A Jetson's nvidia-smi says [N/A].
    echo "check_gpu: error: the compute capability of this GPU ($gpu) is '$architecture', which is no number; name it," \
        "e.g. --architecture 87 for an Orin" >&2
    exit 2
fi

if [[ -x $root/.venv/bin/python ]]; then
    export PATH=$root/.venv/bin:$PATH
fi
# CUDA's own folders are often not on PATH.
export PATH=$PATH:/usr/local/cuda/bin:/usr/local/cuda/compute-sanitizer
python=${PYTHON:-python3}
missing=()
for tool in nvcc cmake g++ "$python"; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
for module in numpy pytest onnx onnxruntime; do
    "$python" -c "import $module" 2>/dev/null || missing+=("the Python package $module")
done
if ((${#missing[@]})); then
    echo "check_gpu: error: this machine lacks: $(printf '%s, ' "${missing[@]}" | sed 's/, $//')" >&2
    exit 2
fi

mkdir -p "$out"
out=$(cd "$out" && pwd)
plugin=$root/engines/plugin/build/libstrip_gate.so
support=$root/tests/engines/support
export PYTHONPATH=$root:$support:$root/benchmarks PYTHONDONTWRITEBYTECODE=1

# What a step's result is good for: these sources, this GPU and driver.
cd "$root"
key=$({
    echo "$gpu"
    find engines/plugin tests/engines benchmarks scripts runtime/*device*.py tests/runtime/test_device.py -name build -prune -o \
        \( -path '*/results' -o -path '*/__pycache__' \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
} | sha256sum | cut -d' ' -f1)

build() {
    scripts/build_plugin.sh "-DSTRIP_GATE_ARCHITECTURES=$architecture"
    "$python" - "$plugin" "$out" <<'PYTHON'
import sys
from pathlib import Path
from plugin_harness import compile_for_gpu, headers_of

plugin, out = map(Path, sys.argv[1:])
print(compile_for_gpu(headers_of(plugin), out))
PYTHON
}

tests() {
    # Code or a query that loses the clusters would give right results, slower.
    "$python" - "$architecture" <<'PYTHON'
import sys
from strip_gate_library import LIBRARY, StripGateLibrary, build_library

build_library()
device = StripGateLibrary(LIBRARY).device()
print(device)
# A part of a GPU may be too small for the largest cluster; a whole one from Hopper on is not.
if int(sys.argv[1]) >= 90 and device.multiprocessors >= 100 and device.largest_cluster < 8:
    sys.exit("this GPU has clusters of 8 blocks, and the kernel was not given them: see describe_device")
PYTHON
    "$python" -m pytest -m gpu -p no:cacheprovider tests/engines/test_plugin_runs.py --junitxml "$out/tests.xml"
    # Skipped tests pass, too.
    "$python" - "$out/tests.xml" <<'PYTHON'
import sys
import xml.etree.ElementTree as ElementTree

cases = list(ElementTree.parse(sys.argv[1]).iter("testcase"))
skipped = [case for case in cases if case.find("skipped") is not None]
if not cases or skipped:
    sys.exit(f"{len(skipped)} of {len(cases)} tests were skipped: see the reasons above")
print(f"the plugin's {len(cases)} tests on a GPU passed")
PYTHON
}

device() {
    "$python" -m pytest -m gpu -p no:cacheprovider tests/runtime/test_device.py --junitxml "$out/device.xml"
}

sanitize() { # with one of compute-sanitizer's tools
    compute-sanitizer --tool "$1" --error-exitcode 1 --target-processes application-only \
        "$python" "$support/check_memory.py" "$out/libharness.so" "$plugin"
}

# Its status is not 0 either where its time was up before the last piece: run again, it goes on.
benchmark() { "$python" benchmarks/strip_gate.py --build --out "$out/strip_gate.json"; }

reason_to_skip() { # why a step is not run here; nothing: it is
    case $1 in
    device)
        "$python" -c 'import cv2' 2>/dev/null || echo "OpenCV is not installed, which the runtime's tests import"
        "$python" -c 'import cuda.bindings.driver' 2>/dev/null || "$python" -c 'import pycuda.driver' 2>/dev/null ||
            echo "neither cuda-python nor pycuda is installed"
        ;;
    *check) command -v compute-sanitizer >/dev/null || echo "compute-sanitizer is not installed; it is part of the CUDA toolkit" ;;
    benchmark) "$python" -c 'import torch' 2>/dev/null || echo "torch is not installed, beside which the kernel is measured" ;;
    esac
}

passed_before() { [[ $(cat "$out/$1.passed" 2>/dev/null) == "$key" ]]; }

run_step() {
    case $1 in
    *check) sanitize "$1" ;;
    *) "$1" ;;
    esac
}

export -f build tests device sanitize benchmark run_step
export out plugin support python architecture root
results=()
failed=0
for step in "${steps[@]}"; do
    if passed_before "$step"; then
        echo "== $step: passed before, see $out/$step.log"
        results+=("$step=passed")
        continue
    fi
    reason=$(reason_to_skip "$step" | head -n 1)
    if [[ -n $reason ]]; then
        echo "== $step: skipped: $reason"
        results+=("$step=skipped: $reason")
        continue
    fi
    echo "== $step: running, see $out/$step.log"
    rm -f "$out/$step.passed"
    status=0
    timeout "$limit" bash -euo pipefail -c "run_step $step" >"$out/$step.log" 2>&1 || status=$?
    if ((status == 0)); then
        echo "$key" >"$out/$step.passed"
        results+=("$step=passed")
        tail -n 1 "$out/$step.log"
        continue
    fi
    failed=1
    ((status != 124)) || echo "check_gpu: $step took longer than $limit s" >>"$out/$step.log"
    results+=("$step=failed: exit status $status")
    echo "== $step: failed with exit status $status; the end of its log:" >&2
    tail -n 15 "$out/$step.log" >&2
    [[ $step != build ]] || break # nothing of the rest can run
done
# The report is of all that is known, also where steps are run one by one.
for step in "${all[@]}"; do
    if [[ " ${steps[*]} " != *" $step "* ]] && passed_before "$step"; then
        results+=("$step=passed")
    fi
done

"$python" - "$out/check_gpu.json" "$gpu" "${results[@]}" <<'PYTHON'
import datetime, json, pathlib, platform, subprocess, sys

path, gpu, *results = sys.argv[1:]


def output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"not known ({error})"


report = {
    "gpu": gpu,
    "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    "system": platform.platform(),
    "python": platform.python_version(),
    "nvcc": output("nvcc", "--version").splitlines()[-1],
    "commit": output("git", "rev-parse", "HEAD"),
    "steps": dict(result.split("=", 1) for result in results),
}
pathlib.Path(path).write_text(json.dumps(report, indent=2) + "\n")
PYTHON
echo "wrote $out/check_gpu.json"
exit "$failed"
