"""What a build refuses before any library is asked."""

from pathlib import Path
from typing import Any

import pytest

from engines.options import BuildOptions, check_ampere, check_flavour, check_same_level
from runtime.engine_manifest import BatchProfile
from runtime.errors import InputError

ONE = BatchProfile(1, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profiles": ()}, "batch profiles are none; expected at least one"),
        ({"profiles": (ONE, ONE)}, "batch profiles are 1:1:1, 1:1:1; expected at least one, and each once"),
        ({"optimization_level": 6}, "optimisation level is 6; expected 0 to 5"),
        ({"optimization_level": -1}, "optimisation level is -1"),
        ({"workspace": 0}, "workspace is 0 bytes"),
        ({"workspace": 1 << 63}, "workspace is 9223372036854775808 bytes; expected 1 to 9223372036854775807"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BuildOptions(**{"profiles": (ONE,), **options})


def test_a_smallest_batch_above_one_must_be_allowed() -> None:
    profiles = (BatchProfile(8, 8, 8), BatchProfile(4, 8, 16))
    message = r"smallest batch of 8:8:8 and 4:8:16 is 4: .* padded with 3 black images and take the time of 4.*--allow-"
    with pytest.raises(InputError, match=message):
        BuildOptions(profiles)
    assert BuildOptions(profiles, allow_min_batch=True).profiles == profiles
    assert BuildOptions((*profiles, ONE)).profiles[2] == ONE


def test_what_a_library_has_not() -> None:
    with pytest.raises(InputError, match="TensorRT builds for one GPU, and SM86, SM89 were named"):
        check_flavour(BuildOptions((ONE,), targets=("SM86", "SM89")), "tensorrt")
    check_flavour(BuildOptions((ONE,), targets=("SM86", "SM89")), "tensorrt-rtx")
    check_flavour(BuildOptions((ONE,), timing_cache=Path("c"), hardware_compatibility="ampere+"), "tensorrt")
    same = BuildOptions((ONE,), hardware_compatibility="same-compute-capability")
    with pytest.raises(InputError, match=r"came with TensorRT 10\.9, and this is 10\.8"):
        check_same_level(same, (10, 8))
    check_same_level(same, (10, 9))
    check_same_level(same, (11, 0))


def test_ampere_and_later_takes_such_a_gpu_to_build_on() -> None:
    compatible = BuildOptions((ONE,), hardware_compatibility="ampere+")
    with pytest.raises(InputError, match="takes a GPU of Ampere or later to build on, and this one is SM75"):
        check_ampere(compatible, ["SM75"])
    for architecture in ("SM80", "SM87", "SM120"):
        check_ampere(compatible, [architecture])
    check_ampere(BuildOptions((ONE,)), ["SM75"])


def test_a_version_compatible_engine_has_the_plugin_inside() -> None:
    assert not BuildOptions((ONE,)).puts_plugin_inside
    assert BuildOptions((ONE,), embed_plugin=True).puts_plugin_inside
    assert BuildOptions((ONE,), version_compatible=True).puts_plugin_inside
