"""`check`: what a recipe would do, before anything heavy happens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tsfm_adapt.cli.options import Json, RecipeFile, Sets, print_json
from tsfm_adapt.cli.words import counted

if TYPE_CHECKING:
    from tsfm_adapt.recipe.schema import Recipe

_LEFT_OUT = 10  # recordings that are named; their number says the rest


def command(
    recipe: RecipeFile,
    sets: Sets = None,
    schema_only: Annotated[
        bool, typer.Option("--schema-only", help="Check the recipe's text; read no data.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a recipe: resolve it, count windows and trainable parameters, train nothing."""
    from tsfm_adapt.recipe.files import dumps, load

    resolved = load(recipe, sets or ())
    found = {} if schema_only else _counted(resolved)
    if as_json:
        print_json({"recipe": resolved.model_dump(mode="json"), **found})
        return
    print(dumps(resolved), end="")
    for channel in found.get("channels", ()):
        print(_described(channel))
    for split_name, counts in found.get("parts", {}).items():
        print(
            f"{split_name}: {counted(counts['windows'], 'window')} of "
            f"{counted(counts['subjects'], 'subject')}"
        )
    left_out = found.get("left_out", {})
    for id, reason in list(left_out.items())[:_LEFT_OUT]:
        print(f"left out: {id}: {reason}")
    if len(left_out) > _LEFT_OUT:
        print(f"left out: {len(left_out) - _LEFT_OUT} more; --json lists all {len(left_out)}")
    if found:
        for line in found["audit"]["lines"]:
            print(line)
        share = found["trainable_parameters"] / found["total_parameters"]
        print(
            f"trains {found['trainable_parameters']:,} of {found['total_parameters']:,} "
            f"parameters ({share:.2%})"
        )
    for line in resolved.search.lines() if resolved.search else ():
        print(line)
    print("ok")


def _described(channel: Mapping[str, Any]) -> str:
    """`Temp: 'Temp rectal' at 1 Hz -> 100 Hz: sparse, a value in 1 of 100 samples`."""
    source = "" if channel["source"] == channel["name"] else f"'{channel['source']}' "
    rate_hz = channel["found_hz"]
    found = f"at {_hertz(rate_hz)}" if rate_hz else "irregular (time-stamped)"
    return f"{channel['name']}: {source}{found} -> {_hertz(channel['rate_hz'])}: {channel['how']}"


def _hertz(rate_hz: float) -> str:
    seconds = round(1 / rate_hz)
    slow = seconds > 1 and math.isclose(rate_hz * seconds, 1.0, rel_tol=1e-6)
    return f"1/{seconds} Hz" if slow else f"{rate_hz:g} Hz"


def _counted(recipe: Recipe) -> dict[str, Any]:
    from tsfm_adapt.recipe.parts import SPLITS, prepare

    prepared = prepare(recipe)

    from tsfm_adapt.training.building import put_together

    # A head is laid out by what the encoder gives for a window, so that it needs the weights.
    weights = recipe.head is not None
    backbone = recipe.backbone.build(weights=weights)
    total = sum(parameter.numel() for parameter in backbone.network.parameters())
    shared, train = prepared.shared_subjects, prepared.windows["train"]
    model = put_together(recipe, None, shared, train, backbone=backbone)
    return {
        "parts": {
            split_name: {
                "windows": len(prepared.windows[split_name]),
                "subjects": prepared.subjects(split_name),
            }
            for split_name in SPLITS
        },
        "left_out": dict(prepared.left_out),
        "audit": prepared.audit.summary(),
        "channels": [asdict(channel) for channel in prepared.rates],
        "trainable_parameters": sum(p.numel() for p in model.trainable().values()),
        "total_parameters": total,
    }
