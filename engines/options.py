"""What a build is asked for, and what of that a library does not know."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.engine_manifest import BatchProfile, Flavour, HardwareCompatibility
from runtime.engine_match import is_ampere_or_later
from runtime.errors import InputError
from runtime.manifest import Manifest, Precision

from .output_files import as_argument

MAX_OPTIMIZATION_LEVEL = 5
_MAX_WORKSPACE = (1 << 63) - 1

# TensorRT's own names of the levels. SAME_COMPUTE_CAPABILITY came with `SAME_LEVEL_SINCE`.
LEVELS: dict[HardwareCompatibility, str] = {
    "none": "NONE",
    "same-compute-capability": "SAME_COMPUTE_CAPABILITY",
    "ampere+": "AMPERE_PLUS",
}
SAME_LEVEL_SINCE = (10, 9)


@dataclass(frozen=True)
class BuildOptions:
    """What an engine is to be.

    Attributes:
        profiles: batch sizes it accepts; each profile is optimised by itself, and adds to its size and building time.
        targets: GPU architectures, e.g. ("SM86",); empty takes the GPU at hand. TensorRT builds for that one only,
            TensorRT-RTX for any it knows and for several at once, also without a GPU.
        precision: what the ONNX file must be; None takes what it is. Never a cast: precision lives in the graph.
        optimization_level: 0 (built fast) to 5 (searched longest); None takes the library's own, which is 3.
        workspace: most device memory in bytes that one layer may use for its intermediate results; None: all there is.
        timing_cache: file that keeps kernel timings from build to build; new where it does not exist. TensorRT only.
        hardware_compatibility: which other GPUs are to run it, at a cost in speed. TensorRT only.
        version_compatible: later versions are to run it, too, at a cost in speed; a lean runtime is put inside, and
            with it the plugin, as the lean runtime sees no other. TensorRT only.
        embed_plugin: put the StripGate library inside the plan.
        allow_min_batch: accept that no profile takes a single crop.
    """

    profiles: tuple[BatchProfile, ...]
    targets: tuple[str, ...] = ()
    precision: Precision | None = None
    optimization_level: int | None = None
    workspace: int | None = None
    timing_cache: Path | None = None
    hardware_compatibility: HardwareCompatibility = "none"
    version_compatible: bool = False
    embed_plugin: bool = False
    allow_min_batch: bool = False

    def __post_init__(self) -> None:
        if not self.profiles or len(set(self.profiles)) < len(self.profiles):
            given = ", ".join(map(str, self.profiles)) or "none"
            raise InputError(f"batch profiles are {given}; expected at least one, and each once")
        smallest = min(profile.min for profile in self.profiles)
        if smallest > 1 and not self.allow_min_batch:
            raise InputError(
                f"the smallest batch of {' and '.join(map(str, self.profiles))} is {smallest}: a single crop would be "
                f"padded with {smallest - 1} black images and take the time of {smallest}; add a profile that starts "
                "at 1 (--batch 1:1:1), or allow it with --allow-min-batch"
            )
        level = self.optimization_level
        if level is not None and not 0 <= level <= MAX_OPTIMIZATION_LEVEL:
            raise InputError(f"optimisation level is {level}; expected 0 to {MAX_OPTIMIZATION_LEVEL}")
        if self.workspace is not None and not 1 <= self.workspace <= _MAX_WORKSPACE:
            raise InputError(f"workspace is {self.workspace} bytes; expected 1 to {_MAX_WORKSPACE}")

    @property
    def puts_plugin_inside(self) -> bool:
        """Whether the plan will hold the StripGate library, if the model needs it."""
        return self.embed_plugin or self.version_compatible


def check_flavour(options: BuildOptions, flavour: Flavour) -> None:
    """Refuse what a library has not, before it would ignore it.

    Raises:
        InputError: TensorRT-RTX is asked for a timing cache or for compatibility, TensorRT for several GPUs.
    """
    if flavour == "tensorrt":
        if len(options.targets) > 1:
            raise InputError(
                f"TensorRT builds for one GPU, and {', '.join(options.targets)} were named; see "
                "--hardware-compatibility, or --flavour tensorrt-rtx"
            )
        return
    if options.timing_cache is not None:
        raise InputError("TensorRT-RTX has no timing cache, as it times nothing; leave --timing-cache out")
    if options.version_compatible:
        raise InputError(
            "TensorRT-RTX has no lean runtime to put into a version-compatible engine; leave --version-compatible out"
        )
    if options.hardware_compatibility != "none":
        raise InputError(
            "TensorRT-RTX has no levels of hardware compatibility; name every GPU with a --target of its own"
        )


def check_same_level(options: BuildOptions, release: tuple[int, int]) -> None:
    """Refuse the level "same-compute-capability" of a TensorRT that does not know it yet.

    Raises:
        InputError: `release` (major, minor) is too old.
    """
    if options.hardware_compatibility == "same-compute-capability" and release < SAME_LEVEL_SINCE:
        raise InputError(
            "hardware compatibility same-compute-capability came with TensorRT "
            f"{'.'.join(map(str, SAME_LEVEL_SINCE))}, and this is {'.'.join(map(str, release))}; leave it out"
        )


def check_ampere(options: BuildOptions, architectures: Sequence[str]) -> None:
    """Refuse the level "ampere+" on an older GPU.

    Raises:
        InputError: one of `architectures`, e.g. "SM75", is older.
    """
    older = [each for each in architectures if not is_ampere_or_later(each)]
    if options.hardware_compatibility == "ampere+" and older:
        raise InputError(
            f"hardware compatibility ampere+ takes a GPU of Ampere or later to build on, and this one is {older[0]}; "
            "leave it out, or build on a newer GPU"
        )


def check_asked_precision(options: BuildOptions, manifest: Manifest, source: Path) -> None:
    """Refuse a file of another precision than was asked for.

    Raises:
        InputError: it is of another.
    """
    asked, found = options.precision, manifest.precision
    if asked in (None, found):
        return
    if asked == "fp32":
        raise InputError(
            f"{source} is fp16, and fp32 was asked for: what rounding took does not come back; name the fp32 file"
        )
    cast = source.with_name(source.stem + ".fp16.onnx")
    rewrite = shlex.join(["lgeu", "rewrite", as_argument(source), "--precision", "fp16", "--out", as_argument(cast)])
    advice = (
        f"name {cast}"
        if cast.is_file()
        else f"name the fp16 file of `lgeu export`, which it checked on images; or cast this one unchecked: {rewrite}"
    )
    raise InputError(
        f"{source} is fp32, and fp16 was asked for: precision is the file's, and no build changes it; {advice}"
    )
