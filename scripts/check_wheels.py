"""Whether everything that a Jetson with JetPack 6 needs can be had as wheels: Python 3.10, aarch64, glibc 2.35.

pip's own resolver decides, on any machine, and installs nothing. Extras that are left out are those for training, and
TensorRT, which JetPack brings. Run it with Python 3.10 and the project installed: pip takes a requirement's conditions
on the Python version (`; python_version < "3.11"`) from the Python that runs it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NOT_FOR_A_DEVICE = {"train", "export", "all", "dev", "tensorrt", "tensorrt-rtx"}
CUDA_PYTHON = "cuda-python>=12.6,<13"
CONSTRAINTS = ROOT / "scripts" / "jetpack6-constraints.txt"
PLATFORMS = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 36))]


def device_requirements() -> list[str]:
    """The project with every extra that a device may want, and cuda-python of JetPack's CUDA."""
    extras = set(metadata("lgeu-reid").get_all("Provides-Extra") or []) - NOT_FOR_A_DEVICE
    return [f"{ROOT}[{','.join(sorted(extras))}]", CUDA_PYTHON]


def resolve(requirements: list[str]) -> list[dict[str, Any]]:
    """What pip would install on the device, each as in pip's installation report.

    Raises:
        subprocess.CalledProcessError: pip finds no set of wheels; it has said which are missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--dry-run"]
        command += ["--constraint", str(CONSTRAINTS)]
        command += ["--ignore-installed", "--report", str(report), "--target", str(Path(folder) / "nothing")]
        command += ["--only-binary", ":all:", "--python-version", "3.10", "--implementation", "cp"]
        command += [f"--platform={platform}" for platform in PLATFORMS]
        subprocess.run([*command, *requirements], check=True)
        installed: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return installed


def main() -> int:
    """Print the wheels; status 1 where there is one too few."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("requirements", nargs="*", help="what to look for; default: the project with its extras")
    requirements = parser.parse_args().requirements or device_requirements()
    print(f"for Python 3.10 on aarch64, glibc 2.35: {' '.join(requirements)}")
    try:
        installed = resolve(requirements)
    except subprocess.CalledProcessError:
        print("check_wheels: error: pip found no wheels for all of it, see above", file=sys.stderr)
        return 1
    wheels = [item["download_info"]["url"].rpartition("/")[2] for item in installed]
    print("\n".join(sorted(f"  {wheel}" for wheel in wheels if wheel.endswith(".whl"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
