"""The GPUs that a library builds for."""

from collections.abc import Sequence

from runtime.errors import DeviceError, InputError
from runtime.tensorrt_library import TensorRTLibrary, current_gpu_architecture


def choose_architectures(library: TensorRTLibrary, targets: Sequence[str]) -> tuple[str, ...]:
    """The GPU architectures to build for, e.g. ("SM86",).

    Args:
        library: that builds.
        targets: those that were named; none takes the GPU at hand.

    Raises:
        InputError: the library cannot build for one of them.
        DeviceError: a GPU is needed, and there is none.
    """
    if library.flavour == "tensorrt-rtx":
        return _choose_rtx(library, targets)
    at_hand = current_gpu_architecture()
    if at_hand is None:
        raise DeviceError(
            "TensorRT builds for the GPU at hand, and there is no usable one; build on the machine that will run the "
            "engine, or for a desktop GPU with --flavour tensorrt-rtx"
        )
    if any(target != at_hand for target in targets):
        raise InputError(
            f"TensorRT builds for the GPU at hand, which is {at_hand}, not {', '.join(targets)}; leave --target out"
        )
    return (at_hand,)


def _choose_rtx(library: TensorRTLibrary, targets: Sequence[str]) -> tuple[str, ...]:
    known = rtx_targets(library)
    at_hand = None if targets else current_gpu_architecture()
    wanted = tuple(dict.fromkeys(targets)) or (() if at_hand is None else (at_hand,))
    if not wanted:
        raise DeviceError(f"there is no GPU to build for; name one with --target: {', '.join(known)}")
    for target in wanted:
        if target not in known:
            raise InputError(
                f"TensorRT-RTX {library.version} does not build for {target}; it does for {', '.join(known)}"
            )
    return wanted


def rtx_targets(library: TensorRTLibrary) -> list[str]:
    """The GPU architectures that TensorRT-RTX builds for, e.g. "SM86"."""
    return [name for name in library.trt.ComputeCapability.__members__ if name.startswith("SM")]
