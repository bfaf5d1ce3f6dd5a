#!/usr/bin/env bash
# Runs the StripGate plugin inside full TensorRT on this machine's GPU and compares with ONNX Runtime: builds the plugin
# and an engine from every ONNX file, also by trtexec where it is installed, and writes one JSON to report.
#
#   scripts/verify_tensorrt.sh [--out FOLDER] [--batch MIN:OPT:MAX] [--data DATASET MODEL.onnx [MODEL.fp16.onnx ...]]
#
# The first model is the reference and should be fp32. DATASET is a folder or zip in a layout that `lgeu parity` takes.
# Without models the demo makes both (synthetic pedestrians; needs the package's training extras). TensorRT_ROOT names a
# TensorRT that is not in the system's folders.
# Exit status: 0 all within tolerance, 1 something failed or disagrees (see the JSON), 2 something is missing here.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=verify data='' batch=1:32:64
models=()
while (($#)); do
    case $1 in
    --out | --data | --batch)
        (($# > 1)) || { echo "verify_tensorrt: error: $1 needs a value" >&2; exit 2; }
        declare "${1#--}=$2"
        shift 2
        ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    -*) echo "verify_tensorrt: error: unknown option $1; see --help" >&2; exit 2 ;;
    *)
        models+=("$1")
        shift
        ;;
    esac
done

if [[ -x $root/.venv/bin/lgeu ]]; then
    export PATH=$root/.venv/bin:$PATH
fi
if ! command -v nvcc >/dev/null && [[ -x /usr/local/cuda/bin/nvcc ]]; then
    export PATH=$PATH:/usr/local/cuda/bin
fi
# Where JetPack and NVIDIA's Debian packages put trtexec, which is not on PATH.
export PATH=$PATH:${TensorRT_ROOT:+$TensorRT_ROOT/bin:}/usr/src/tensorrt/bin

missing=()
need() { # what it is, what to do, and the command that shows that it is there
    local what=$1 remedy=$2
    shift 2
    "$@" >/dev/null 2>&1 || missing+=("$what: $remedy")
}
need "lgeu" "install the project: scripts/install.sh packages, or pip install -e '.[deploy]'" command -v lgeu
need "TensorRT's Python package" "pip install tensorrt; JetPack: apt-get install python3-libnvinfer" \
    python3 -c 'import tensorrt'
need "a usable GPU" "install NVIDIA's driver, and cuda-python or pycuda (pip install cuda-python)" \
    python3 -c 'from runtime.device import open_device; open_device().close()'
need "nvcc" "install the CUDA toolkit" command -v nvcc
need "cmake" "pip install cmake, or apt-get install cmake" command -v cmake
if ((${#models[@]} == 0)); then
    need "torch" "give --data and ONNX files, or install the training extras: pip install -e '.[all]'" \
        python3 -c 'import torch'
    [[ -z $data ]] || missing+=("models: --data was given without ONNX files")
elif [[ -z $data ]]; then
    missing+=("--data: a data set to embed, in the Market-1501 layout or one folder a person")
fi
for model in "${models[@]}"; do
    [[ $model == *.onnx && -f $model ]] || missing+=("$model: no such ONNX file")
done
if ((${#missing[@]})); then
    echo "verify_tensorrt: error: this machine lacks what it takes:" >&2
    printf '  - %s\n' "${missing[@]}" >&2
    exit 2
fi

if [[ -e $out/verify_tensorrt.json || -e $out/parity ]]; then
    echo "verify_tensorrt: error: $out holds an earlier run; name another folder with --out, or remove it" >&2
    exit 2
fi
mkdir -p "$out"
failures=()
attempt() { # runs a step; what fails is reported, and the rest still runs
    echo "== $*"
    local status=0
    "$@" || status=$?
    ((status == 0)) || failures+=("exit status $status: $*")
    return "$status"
}

"$root/scripts/build_plugin.sh" --as-before
plugin=$root/engines/plugin/build/libstrip_gate.so

if ((${#models[@]} == 0)); then
    # It ends with status 1 where an engine disagrees, which is for the report below to say.
    attempt lgeu demo --out "$out/demo" || true
    models=("$out/demo/export/model.onnx" "$out/demo/export/model.fp16.onnx")
    data=$out/demo/synthetic-pedestrians
    for model in "${models[@]}"; do
        [[ -f $model ]] || { echo "verify_tensorrt: error: the demo made no $model; see above" >&2; exit 1; }
    done
fi

release=$(python3 -c 'import tensorrt; print(tensorrt.__version__)')
trtexec=$(command -v trtexec || true)
[[ -n $trtexec ]] || echo "verify_tensorrt: trtexec is not installed here; what it builds is not checked" >&2
engines=()
declare -A taken=([inside]=1) # names of engines, of which several models in different folders may share one
for model in "${models[@]}"; do
    stem=$(basename "${model%.onnx}") name=$stem
    for ((number = 2; ${taken[$name]:-0}; number++)); do name=$stem-$number; done
    taken[$name]=1
    if attempt lgeu build "$model" --flavour tensorrt --plugin "$plugin" --batch "$batch" --out "$out/$name.engine"; then
        engines+=("$out/$name.engine")
    fi
    [[ -n $trtexec ]] || continue
    # The way without Python, from a copy: the script may write a file with the function body stripped beside it.
    by_trtexec=$out/$name.trtexec.engine
    cp "$model" "$out/$name.trtexec.onnx"
    if ! lgeu build "$out/$name.trtexec.onnx" --plugin "$plugin" --batch "$batch" --print-trtexec \
        --release "$release" >"$out/$name.trtexec.sh"; then
        failures+=("no trtexec commands for $model with TensorRT $release")
        continue
    fi
    if attempt bash -eu "$out/$name.trtexec.sh"; then
        engines+=("$by_trtexec")
    fi
done

if ((${#engines[@]})); then
    attempt lgeu parity "${models[0]}" "${engines[@]}" --data "$data" --plugin "$plugin" --out "$out/parity" || true
fi

# Two profiles, and the plugin inside: compared by a process of its own, which loads no library.
inside=$out/inside.engine profiles=(--batch "$batch")
[[ $batch == 1:1:1 ]] || profiles+=(--batch 1:1:1)
if attempt lgeu build "${models[-1]}" --flavour tensorrt --plugin "$plugin" --embed-plugin "${profiles[@]}" \
    --timing-cache "$out/timing.cache" --out "$inside"; then
    attempt lgeu parity "${models[0]}" "$inside" --data "$data" --out "$out/parity-inside" || true
fi

python3 - "$root" "$out" "$release" "$trtexec" "${failures[@]}" <<'PYTHON'
import json, pathlib, platform, subprocess, sys

root, folder, release, trtexec, *failures = sys.argv[1:]
out = pathlib.Path(folder)


def output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"not known ({error})"


def report_of(folder: str) -> dict | None:
    file = out / folder / "report.json"
    return json.loads(file.read_text()) if file.exists() else None


parity, parity_inside = report_of("parity"), report_of("parity-inside")
for each in filter(None, (parity, parity_inside)):
    failures += [f"not run: {engine['name']}: {engine['reason']}" for engine in each.get("not_run", [])]
layers = {path.name: json.loads(path.read_text())["layers"] for path in sorted(out.glob("*.layers.json"))}
report = {
    "tensorrt": release,
    "trtexec": trtexec or "not installed",
    "gpu": output("nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"),
    "system": platform.platform(),
    "nvcc": output("nvcc", "--version").splitlines()[-1],
    "commit": output("git", "-C", root, "rev-parse", "HEAD"),
    "failures": failures,
    "plugin_layers": {name: [layer for layer in dump if layer["type"] == "PLUGIN_V3"] for name, dump in layers.items()},
    "engines": {path.name: json.loads(path.read_text()) for path in sorted(out.glob("*.engine.json"))},
    "parity": parity,
    "parity_plugin_inside": parity_inside,
}
path = out / "verify_tensorrt.json"
path.write_text(json.dumps(report, indent=2) + "\n")
for failure in failures:
    print(f"verify_tensorrt: failed: {failure}", file=sys.stderr)
print(f"wrote {path}: please attach it to a report on the project's page")
sys.exit(1 if failures or parity is None else 0)
PYTHON
echo "verify_tensorrt: all engines ran and agree with the reference"
