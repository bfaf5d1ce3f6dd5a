#!/usr/bin/env bash
# Builds the StripGate plugin: engines/plugin/build/libstrip_gate.so, where `lgeu build` looks for it.
# TensorRT's headers come from TensorRT_ROOT, else from the system, else they are fetched (fetch_tensorrt_headers.sh).
#
#   scripts/build_plugin.sh [CMAKE OPTION...]     e.g. -DSTRIP_GATE_ARCHITECTURES=87
#   scripts/build_plugin.sh --as-before           with the GPUs and headers of the last build here
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/engines/plugin/build
cache=$build/CMakeCache.txt
as_before=
if [[ ${1:-} == --as-before ]]; then
    as_before=1
    shift
fi

for tool in cmake nvcc; do
    if ! command -v "$tool" >/dev/null; then
        # CUDA's own folder is often not on PATH, JetPack's among them.
        if [[ $tool == nvcc && -x /usr/local/cuda/bin/nvcc ]]; then
            export PATH=$PATH:/usr/local/cuda/bin
        else
            echo "build_plugin: error: $tool is not installed; the plugin needs CMake >= 3.21 and CUDA's nvcc" >&2
            exit 2
        fi
    fi
done

mkdir -p "$build"
exec 9>"$build/.lock"
flock 9  # two builds in one folder would trip over each other

# CMake refuses a build folder that was made elsewhere and copied here; what was fetched into it stays.
if [[ -f $cache ]] && ! grep -qxF "CMAKE_CACHEFILE_DIR:INTERNAL=$build" "$cache"; then
    echo "build_plugin: $build was made in another place; building anew" >&2
    rm -rf "$cache" "$build/CMakeFiles"
fi

options=(${TensorRT_ROOT:+"-DTensorRT_ROOT=$TensorRT_ROOT"} "$@")
if [[ -z $as_before || ! -f $cache ]]; then
    # CMake keeps options from call to call; a library for other GPUs than were asked for would go unnoticed.
    options=(-UTensorRT_ROOT -DSTRIP_GATE_ARCHITECTURES= "${options[@]}")
    if ! printf '%s\n' "${options[@]}" | grep -q '^-DTensorRT_ROOT[:=]'; then
        # Links are followed: /usr/local/TensorRT often is one, to the version in use.
        found=$(find -L /usr/include /usr/local/tensorrt /usr/local/TensorRT /usr/src/tensorrt -maxdepth 3 \
            -name NvInferRuntime.h -print -quit 2>/dev/null || true)
        if [[ -z $found ]]; then
            echo "build_plugin: no TensorRT_ROOT and no TensorRT headers on this system; using fetched ones" >&2
            headers=$("$root/scripts/fetch_tensorrt_headers.sh")
            options+=("-DTensorRT_ROOT=$headers")
        fi
    fi
fi

cmake -S "$root/engines/plugin" -B "$build" "${options[@]}"
cmake --build "$build" --parallel "${JOBS:-2}"
echo "$build/libstrip_gate.so"
