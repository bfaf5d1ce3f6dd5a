#!/usr/bin/env bash
# What Dockerfile.jetson does, without Docker and on any machine with nvcc: the same steps, in a folder that holds what
# the build context would, with Python 3.10 as JetPack 6 has it, where there is one. Then, that torch is not there, and
# that everything has wheels for a Jetson.
#
#   scripts/install_like_docker.sh      PYTHON names the Python to use
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

works() { "$1" -c '' 2>/dev/null; }

for python in "${PYTHON:-python3.10}" ~/.pyenv/versions/3.10.*/bin/python python3; do
    if works "$python"; then break; fi
done
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
echo "install_like_docker: Python $version ($python)"
[[ $version == 3.10 ]] || echo "install_like_docker: JetPack 6 has Python 3.10, which was not found here" >&2

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
mapfile -t shown < <(sed -n 's/^!//p' .dockerignore)
git ls-files -z --cached --others --exclude-standard -- "${shown[@]}" | tar --create --null --files-from - | tar --extract --directory "$context"

venv=$context/venv
options=(--venv "$venv" --constraints "$context/scripts/jetpack6-constraints.txt")
"$context/scripts/install.sh" "${options[@]}" --python "$python" --cuda 12 --architectures 87 plugin packages check
if "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    echo "install_like_docker: error: torch can be imported, so that nothing is shown of a machine without it" >&2
    exit 1
fi
"$venv/bin/python" "$context/scripts/check_wheels.py"
"$context/scripts/install.sh" "${options[@]}" test
