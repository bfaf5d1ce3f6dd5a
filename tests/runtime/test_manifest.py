"""The manifest: round trips, and what it refuses."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from runtime.engine_manifest import BatchProfile, EngineManifest
from runtime.errors import InputError, ManifestError
from runtime.manifest import Manifest, manifest_path, read_engine_manifest, write_engine_manifest

PROFILES = (BatchProfile(1, 1, 1), BatchProfile(4, 32, 64))
ENGINE = EngineManifest(
    "tensorrt",
    "10.3.0.26",
    ("SM86",),
    PROFILES,
    "a" * 64,
    "b" * 64,
    "c" * 64,
    plugin_embedded=True,
    version_compatible=True,
    hardware_compatibility="ampere+",
    platform="Linux aarch64",
)


def engine_with(**changes: Any) -> dict[str, Any]:
    """The JSON of `ENGINE`, changed."""
    return json.loads(json.dumps(dataclasses.asdict(ENGINE))) | changes


@pytest.fixture
def full(manifest: Manifest) -> Manifest:
    """A manifest with every field set to something other than its default."""
    return dataclasses.replace(
        manifest,
        gate="strip",
        strips=4,
        reduction=16,
        last_stride=1,
        neck="bn",
        precision="fp16",
        trained_on="Märket",
        checkpoint_sha256="d" * 64,
        opset={"": 18, "lgeu": 1},
        functions="keep",
        tools={"torch": "2.9.0"},
        engine=ENGINE,
    )


def test_round_trip(manifest: Manifest, full: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json(), "here") == manifest
    assert Manifest.from_json(full.to_json(), "here") == full


def test_round_trip_beside_an_engine(full: Manifest, tmp_path: Path) -> None:
    engine = tmp_path / "model.fp16.engine"
    write_engine_manifest(engine, full)
    assert manifest_path(engine) == tmp_path / "model.fp16.engine.json"
    assert read_engine_manifest(engine) == full


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "has schema 2; this version reads schema 1"),
        ({"colour": "RGB"}, "unknown field 'colour'"),
        ({"backbone": None}, "backbone is None; expected a text"),
        ({"embedding_size": 6.0}, "embedding_size is 6.0; expected a whole number"),
        ({"embedding_size": True}, "embedding_size is True; expected a whole number"),
        ({"embedding_size": 0}, "embedding_size is 0; expected at least 1"),
        ({"gate": "strips"}, "gate is 'strips'; expected 'strip' or 'se' or 'none'"),
        ({"gate": "se"}, "gate 'se' with 4 strips"),
        ({"neck": "BN"}, "neck is 'BN'; expected 'none' or 'bn' or 'centre'"),
        ({"last_stride": 3}, "last_stride is 3; expected 1 or 2"),
        ({"last_stride": True}, "last_stride is True; expected 1 or 2"),
        ({"precision": "int8"}, "precision is 'int8'"),
        ({"colour_order": "BGR"}, "colour_order is 'BGR'; expected 'RGB'"),
        ({"functions": "gone"}, "functions is 'gone'"),
        ({"mean": [0.5, 0.5]}, "expected three finite numbers"),
        ({"mean": [0.5, 0.5, float("nan")]}, "expected three finite numbers"),
        ({"mean": 0.5}, "mean is 0.5; expected a list"),
        ({"std": [0.2, 0.0, 0.2]}, "every channel must be positive"),
        ({"opset": {"": "18"}}, "opset of '' is '18'; expected a whole number"),
        ({"tools": ["torch"]}, r"tools is \['torch'\]; expected an object"),
        ({"engine": []}, "engine is .*; expected an object"),
        ({"engine": {}}, "the engine's part of the manifest of .* has schema 1; this version reads schema 2"),
        ({"schema": None}, "has schema None"),
        ({"engine": {"schema": 2}}, "field 'flavour' is missing"),
        ({"engine": engine_with(profiles=[])}, "at least one batch profile and one GPU architecture"),
        ({"engine": engine_with(profiles={"min": 1})}, "profiles is .*; expected a list"),
        ({"engine": engine_with(profiles=[[1, 2, 3]])}, r"profiles\[0\] is \[1, 2, 3\]; expected an object"),
        ({"engine": engine_with(gpu_architectures=["SM86", 87])}, r"gpu_architectures\[1\] is 87; expected a text"),
        ({"engine": engine_with(plugin_embedded=1)}, "plugin_embedded is 1; expected true or false"),
        ({"engine": engine_with(hardware_compatibility="all")}, "hardware_compatibility is 'all'; expected 'none' or"),
    ],
)
def test_refusals(full: Manifest, change: dict[str, Any], message: str) -> None:
    text = json.dumps(json.loads(full.to_json()) | change)
    with pytest.raises(ManifestError, match=message) as caught:
        Manifest.from_json(text, "model.onnx")
    assert "model.onnx" in str(caught.value)


def test_a_missing_field_is_named(full: Manifest) -> None:
    data = json.loads(full.to_json())
    del data["mean"]
    with pytest.raises(ManifestError, match="field 'mean' is missing"):
        Manifest.from_json(json.dumps(data), "model.onnx")


def test_files_older_than_last_stride_and_neck_are_read_as_having_neither(manifest: Manifest) -> None:
    data = json.loads(manifest.to_json())
    del data["last_stride"], data["neck"]
    read = Manifest.from_json(json.dumps(data), "model.onnx")
    assert (read.last_stride, read.neck) == (2, "none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("9" * 5000, "is not JSON"),
        ("[]", "is a JSON list; expected an object"),
    ],
)
def test_what_is_not_an_object(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        Manifest.from_json(text, "model.onnx")


def test_an_engine_without_its_manifest(manifest: Manifest, tmp_path: Path) -> None:
    engine = tmp_path / "model.engine"
    with pytest.raises(ManifestError, match=r"has no manifest model\.engine\.json beside it; build it"):
        read_engine_manifest(engine)
    write_engine_manifest(engine, manifest)
    with pytest.raises(ManifestError, match="describes no engine"):
        read_engine_manifest(engine)
    manifest_path(engine).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="is not a text file"):
        read_engine_manifest(engine)


def test_batch_profile() -> None:
    assert BatchProfile.parse("1:32:64") == BatchProfile(1, 32, 64)
    assert str(BatchProfile(1, 32, 64)) == "1:32:64"


@pytest.mark.parametrize(
    "text", ["", "1:2", "1:2:3:4", "0:1:2", "2:1:3", "1:3:2", "a:b:c", "1:-2:3", "1: 2:3", "²:3:4", "1:2:2147483648"]
)
def test_batch_profiles_that_are_none(text: str) -> None:
    with pytest.raises(ManifestError, match="batch profile"):
        BatchProfile.parse(text)


def engine_of(*profiles: str) -> EngineManifest:
    return dataclasses.replace(ENGINE, profiles=tuple(BatchProfile.parse(text) for text in profiles))


@pytest.mark.parametrize(
    ("profiles", "chosen"),
    [
        (["1:32:64"], {1: 0, 32: 0, 64: 0}),
        (["1:1:1", "1:32:64"], {1: 0, 2: 1, 64: 1}),
        # The nearest size by ratio: 3 is 3 times 1 and a quarter of 12.
        (["1:1:8", "1:12:16"], {1: 0, 3: 0, 4: 1, 8: 1, 16: 1}),
        # Fewest images to add first, whatever is tuned for.
        (["8:8:8", "4:64:64"], {1: 1, 4: 1, 5: 1, 8: 0, 9: 1}),
        (["4:4:4", "2:2:2"], {1: 1, 2: 1, 3: 0, 4: 0}),
        (["1:4:8", "1:4:16"], {4: 0, 9: 1}),
    ],
)
def test_the_profile_that_a_batch_runs_in(profiles: list[str], chosen: dict[int, int]) -> None:
    engine = engine_of(*profiles)
    assert {count: engine.profile_for(count) for count in chosen} == chosen


def test_a_batch_that_no_profile_takes() -> None:
    engine = engine_of("1:1:1", "2:4:8", "2:2:2")
    assert engine.max_batch == 8
    for count in (0, 9):
        with pytest.raises(InputError, match=f"a batch has {count} images; expected 1 to 8"):
            engine.profile_for(count)


@pytest.mark.parametrize(("gate", "has"), [("strip", True), ("se", True), ("none", False)])
def test_which_gates_have_the_operator(manifest: Manifest, gate: Any, has: bool) -> None:
    assert dataclasses.replace(manifest, gate=gate).has_strip_gate is has
