"""Optional packages: imported when first needed, and named with their remedy when absent."""

import importlib
from types import ModuleType

from .errors import MissingDependencyError


def require_base() -> None:
    """Import the packages without which nothing here can be imported.

    Raises:
        MissingDependencyError: one of them cannot be.
    """
    for module, package in (("numpy", "numpy"), ("cv2", "opencv-python-headless"), ("tqdm", "tqdm")):
        require(module, purpose="LGEU-ReID", install=f"pip install {package}")


def require(module: str, *, purpose: str, install: str) -> ModuleType:
    """Import `module`, or say who needs it and how it is installed.

    Args:
        module: dotted module name.
        purpose: what needs it, e.g. "running an .onnx file".
        install: the command that installs it.

    Raises:
        MissingDependencyError: the module, or something it imports, cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs the Python package '{module}', which cannot be imported ({error}); "
            f"install it with: {install}"
        ) from error
