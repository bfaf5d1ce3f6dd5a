"""Fixtures that every room's tests share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.device import open_device
from runtime.errors import InputError, LgeuError, MissingDependencyError
from runtime.manifest import BatchProfile, Flavour

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images, video and models, which are not part of the project."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is not here: {folder} does not exist")
    return folder


@pytest.fixture(scope="session")
def has_gpu() -> bool:
    """Whether this machine has a GPU that engines can run on."""
    try:
        open_device().close()
    except LgeuError:
        return False
    return True


@pytest.fixture(scope="session")
def build_for_this_gpu(has_gpu: bool) -> Callable[..., Path]:
    """Builds an engine for the GPU at hand; skips where there is none, or the library is missing or does not know it.

    The engine lies beside the ONNX file.
    """
    if not has_gpu:
        pytest.skip("needs an NVIDIA GPU")
    from engines.builder import build_engine

    def build(onnx_path: Path, flavour: Flavour, profile: BatchProfile, plugin: Path | None = None) -> Path:
        try:
            return build_engine(onnx_path, flavour=flavour, plugin=plugin, profile=profile, target=None)
        except MissingDependencyError as error:
            pytest.skip(str(error))
        except InputError as error:
            if "does not build for" not in str(error):
                raise
            pytest.skip(str(error))

    return build
