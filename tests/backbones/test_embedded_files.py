"""What lists say of weights is what building them gives."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tsfm_adapt.backbones import embedded as weights
from tsfm_adapt.components import built_in, component, config_class
from tsfm_adapt.errors import EnvironmentProblem


@pytest.mark.parametrize("name", built_in("backbone"))
def test_what_is_read_is_what_is_built(name: str) -> None:
    from tsfm_adapt.backbones.embedded import FOLDER as EMBEDDED

    if problem := component("backbone", name).problem:
        pytest.skip(f"backbone '{name}' {problem}")
    said = weights.embedded(name)
    assert said is not None
    built = config_class("backbone", name)().build()
    assert said.max_context == built.spec.max_context
    assert said.licence == built.spec.licence
    assert said.parameters == sum(p.numel() for p in built.network.parameters())
    assert said.size_mb == (EMBEDDED / name / "model.safetensors").stat().st_size / 1e6


@pytest.mark.parametrize("name", built_in("backbone"))
def test_the_licences_are_those_of_the_specs(name: str) -> None:
    licences = importlib.import_module(f"tsfm_adapt.backbones.{name}").LICENCES
    assert weights.published(name) | {"embedded": "apache-2.0"} == dict(licences)
    assert all(id.count("/") == 1 for id in weights.published(name))


def test_licences_in_short_say_how_many_ids_have_each() -> None:
    assert weights.in_short({"a/1": "mit", "a/2": "cc-by-nc-4.0", "a/3": "mit"}) == (
        "2 mit, 1 cc-by-nc-4.0"
    )


def test_a_backbone_without_weights_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    assert weights.embedded("chronos2") is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 64, b"\x02" + b"\0" * 7 + b"[]"])
def test_a_broken_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    (tmp_path / "chronos2").mkdir()
    (tmp_path / "chronos2" / "model.safetensors").write_bytes(content)
    with pytest.raises(EnvironmentProblem, match=r"chronos2/model.safetensors' is no safetensors"):
        weights.embedded("chronos2")
