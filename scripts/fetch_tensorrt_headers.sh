#!/usr/bin/env bash
# Fetches TensorRT 10.14's public headers (Apache-2.0), for compiling and testing the plugin where TensorRT is not
# installed. They come inside one person's Python package, which is therefore pinned by version and by hash; nothing
# else of it is used. Prints the folder with the headers.
#
#   scripts/fetch_tensorrt_headers.sh [FOLDER]     default: engines/plugin/build/tensorrt-headers
set -euo pipefail

package=kernel-lens==2.0.1
sha256=07cc714e8b5e7f34b672f7c7fad93febe7c747be5837ba276b1527370134ffe0

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=${1:-$root/engines/plugin/build/tensorrt-headers}
python=${PYTHON:-$root/.venv/bin/python}
command -v "$python" >/dev/null || python=python3

if [[ -f $folder/NvInferRuntime.h ]]; then
    echo "$folder"
    exit 0
fi

parent=$(dirname "$folder")
mkdir -p "$parent"
scratch=$(mktemp -d "$parent/.headers.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

if ! "$python" -m pip --version >/dev/null 2>&1; then # Debian's Python comes without
    "$python" -m venv "$scratch/venv"
    python=$scratch/venv/bin/python
fi
echo "fetching TensorRT's public headers from the Python package $package" >&2
echo "$package --hash=sha256:$sha256" >"$scratch/requirements.txt"
if ! "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --dest "$scratch" --requirement "$scratch/requirements.txt" >&2; then
    echo "fetch_tensorrt_headers: error: they could not be fetched (see above); without a network, copy $folder from a" \
        "machine that has one, or set TensorRT_ROOT" >&2
    exit 2
fi
wheel=$(echo "$scratch"/*.whl)
# pip has checked the hash; a pip that was told not to must not get past this.
echo "$sha256  $wheel" | sha256sum --check --quiet >&2

"$python" - "$wheel" "$scratch/headers" <<'PYTHON'
import pathlib, sys, zipfile
wheel, target = zipfile.ZipFile(sys.argv[1]), pathlib.Path(sys.argv[2])
target.mkdir()
for name in wheel.namelist():
    if name.startswith("kernel_lens/include/tensorrt/") and name.endswith(".h"):
        (target / pathlib.PurePosixPath(name).name).write_bytes(wheel.read(name))
PYTHON
test -f "$scratch/headers/NvInferRuntime.h"
# Another run may have been quicker; its headers are the same.
mv -T "$scratch/headers" "$folder" 2>/dev/null || test -f "$folder/NvInferRuntime.h"
echo "$folder"
