"""`--set backbone.checkpoint=tiny`: any recipe, dry, on random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tsfm_adapt.components import built_in, component, config_class

RECIPE = Path(__file__).parents[2] / "recipes" / "vitals_forecast.yaml"
FEW = ("data.reader.subjects=8", "data.reader.hours=8", "evaluate.max_windows=4")


def arguments(name: str, *others: str) -> list[str]:
    sets = [f"backbone.name={name}", "backbone.checkpoint=tiny", *FEW, *others]
    return [part for entry in sets for part in ("--set", entry)]


@pytest.fixture(params=built_in("backbone"))
def name(request: pytest.FixtureRequest) -> str:
    if problem := component("backbone", request.param).problem:
        pytest.skip(f"backbone '{request.param}' {problem}")
    return str(request.param)


def test_every_backbone_dry_runs_a_recipe_and_says_that_its_weights_are_random(
    cli: Callable[..., Any], name: str
) -> None:
    outcome = cli("train", RECIPE, "--smoke", *arguments(name))
    assert outcome.code == 0, outcome.err
    assert "RANDOM" in outcome.err
    assert "RANDOM" in outcome.out
    run = Path(outcome.out.splitlines()[-1].removeprefix("run: "))
    card = (run / "bundle" / "README.md").read_text()
    assert "weights `tiny`" in card
    assert "RANDOM" in card
    assert "license: apache-2.0" in card

    from tsfm_adapt.runs.run import load

    model, _ = load(run / "bundle")  # refuses other base weights than those of the training
    assert model.backbone.spec.checkpoint == "tiny"


def test_shapes_alone_have_as_many_parameters(name: str) -> None:
    config = config_class("backbone", name)(checkpoint="tiny")
    real, bare = (config.build(weights=weights).network for weights in (True, False))
    shapes = {n: p.shape for n, p in real.named_parameters()}
    assert {n: p.shape for n, p in bare.named_parameters()} == shapes
    assert {p.device.type for p in bare.parameters()} == {"meta"}


def test_settings_of_the_recipe_hold_for_random_weights_too() -> None:
    build = lambda name, **settings: config_class("backbone", name)(  # noqa: E731
        checkpoint="tiny", **settings
    ).build()
    short, long = (build("lag_llama", context=tokens).spec.max_context for tokens in (16, 48))
    assert long - short == 32
    assert build("chronos_t5", prediction="expected").prediction == "expected"
    if component("backbone", "moirai").problem is None:
        assert [build("moirai", patch_size=size).spec.patch for size in (8, 16)] == [8, 16]


def test_pretrained_weights_are_not_said_to_be_random(cli: Callable[..., Any]) -> None:
    outcome = cli("train", RECIPE, "--smoke", *(part for e in FEW for part in ("--set", e)))
    assert outcome.code == 0, outcome.err
    assert "RANDOM" not in outcome.out + outcome.err
