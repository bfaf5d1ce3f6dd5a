"""What a manifest says of an engine beside what it says of the model: who built it, for what, and from which files."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .errors import InputError, ManifestError

# A number of its own, apart from the model's: a checkpoint is hours of training and an engine minutes of building, so
# that a change to the one must not make the other unreadable.
ENGINE_SCHEMA = 2

# The largest size of an axis in TensorRT.
_MAX_BATCH = (1 << 31) - 1

Flavour = Literal["tensorrt", "tensorrt-rtx"]
HardwareCompatibility = Literal["none", "same-compute-capability", "ampere+"]


@dataclass(frozen=True)
class BatchProfile:
    """The batch sizes an engine was built for; `opt` is the one it was tuned for."""

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max <= _MAX_BATCH:
            raise ManifestError(
                f"batch profile {self} is out of order or range; expected 1 <= min <= opt <= max <= {_MAX_BATCH}"
            )

    @classmethod
    def parse(cls, text: str) -> "BatchProfile":
        """From `min:opt:max`, e.g. `1:32:64`.

        Raises:
            ManifestError: anything but three ordered positive whole numbers.
        """
        parts = text.split(":")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
            raise ManifestError(f"batch profile {text!r} is not min:opt:max; expected e.g. 1:32:64")
        return cls(*(int(part) for part in parts))

    def __str__(self) -> str:
        return f"{self.min}:{self.opt}:{self.max}"


@dataclass(frozen=True)
class EngineManifest:
    """What only an engine has.

    Attributes:
        flavour: which library built it.
        version: that library's version, e.g. "10.3.0.26".
        gpu_architectures: compute capabilities it was built for, e.g. ("SM86",); several with TensorRT-RTX only.
        profiles: batch sizes it accepts, in the engine's order.
        engine_sha256: hash of the plan file.
        onnx_sha256: hash of the ONNX file it was built from.
        plugin_sha256: hash of the StripGate library, None where the model has no StripGate (gate "none").
        plugin_embedded: the StripGate library is inside the plan, so that no file of it is needed to run the engine.
        version_compatible: later versions of the library run it, too.
        hardware_compatibility: which other GPUs run it, as TensorRT names it; "none" where only the architecture does.
        platform: system and machine it was built on, e.g. "Linux x86_64", to which TensorRT's engines are tied; None
            where they are not (TensorRT-RTX).
        schema: version of this structure.
    """

    flavour: Flavour
    version: str
    gpu_architectures: tuple[str, ...]
    profiles: tuple[BatchProfile, ...]
    engine_sha256: str
    onnx_sha256: str
    plugin_sha256: str | None
    plugin_embedded: bool = False
    version_compatible: bool = False
    hardware_compatibility: HardwareCompatibility = "none"
    platform: str | None = None
    schema: int = ENGINE_SCHEMA

    def __post_init__(self) -> None:
        if not self.profiles or not self.gpu_architectures:
            raise ManifestError("manifest: an engine has at least one batch profile and one GPU architecture")

    @property
    def max_batch(self) -> int:
        """The largest batch it accepts."""
        return max(profile.max for profile in self.profiles)

    @property
    def holds_host_code(self) -> bool:
        """Whether deserialising it runs code for the CPU that is inside the plan: the plugin's, or a lean runtime's."""
        return self.plugin_embedded or self.version_compatible

    def profile_for(self, count: int) -> int:
        """See `choose_profile`."""
        return choose_profile(self.profiles, count)


def choose_profile(profiles: Sequence[BatchProfile], count: int) -> int:
    """Index of the profile in which a batch of `count` images runs.

    The one for which the fewest images must be added; among equals the one that was tuned for the nearest size, by the
    ratio of the two; among these the first.

    Raises:
        InputError: no profile takes so many, or there are none.
    """
    most = max(profile.max for profile in profiles)
    if not 1 <= count <= most:
        raise InputError(f"a batch has {count} images; expected 1 to {most}")

    def cost(index: int) -> tuple[int, float]:
        profile = profiles[index]
        size = max(count, profile.min)
        return size, max(size, profile.opt) / min(size, profile.opt)

    return min((index for index, each in enumerate(profiles) if each.max >= count), key=cost)
