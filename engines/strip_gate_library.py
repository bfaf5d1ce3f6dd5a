"""Which StripGate library a model is built with."""

from pathlib import Path

from runtime.errors import InputError
from runtime.files import require_file
from runtime.manifest import Manifest
from runtime.tensorrt_library import default_plugin


def find_plugin(plugin: Path | None, manifest: Manifest, source: Path) -> Path | None:
    """The StripGate library that a model needs; None where it needs none.

    Args:
        plugin: the one that was named; None takes the one `make plugin` builds.
        manifest: of the model.
        source: its ONNX file, for the message.

    Raises:
        InputError: there is no library, or StripGate was inlined in the file.
    """
    if not manifest.has_strip_gate:
        return None
    check_node(manifest, source)
    if plugin is not None:
        return require_file(plugin, "plugin library")
    if not default_plugin().is_file():
        raise InputError(
            f"{source} has a StripGate node, and there is no plugin for it ({default_plugin()} does not exist); "
            "build it with `make plugin`, or name it with --plugin"
        )
    return default_plugin()


def check_node(manifest: Manifest, source: Path) -> None:
    """Refuse a model whose StripGate is no node that the plugin could take.

    Raises:
        InputError: StripGate was inlined.
    """
    if manifest.functions == "inline":
        raise InputError(f"StripGate was inlined in {source}, so that no plugin can take it; use the exported file")
