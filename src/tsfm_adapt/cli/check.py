"""`check`: resolves a recipe, counts windows and parameters, and trains nothing."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from tsfm_adapt.cli.options import Json, RecipeFile, Sets, print_json
from tsfm_adapt.cli.words import counted

if TYPE_CHECKING:
    from tsfm_adapt.recipe.schema import Recipe
    from tsfm_adapt.signals.audit import Summary
    from tsfm_adapt.signals.rates import ChannelRate
    from tsfm_adapt.tasks.base import SplitName

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
    counts = None if schema_only else _counts(resolved)
    if as_json:
        known = {} if counts is None else asdict(counts)
        print_json({"recipe": resolved.model_dump(mode="json"), **known})
        return
    print(dumps(resolved), end="")
    if counts is not None:
        for line in _lines(counts):
            print(line)
    for line in resolved.search.lines() if resolved.search else ():
        print(line)
    print("ok")


@dataclass(frozen=True)
class _SplitCounts:
    windows: int
    subjects: int


@dataclass(frozen=True)
class _Counts:
    """Counts of a recipe's recordings and model; the fields are those of `--json`."""

    parts: dict[SplitName, _SplitCounts]  # by split
    left_out: dict[str, str]  # recordings, each with its reason
    notes: dict[str, int]  # what the reader changed or left out: how many
    audit: Summary
    channels: list[ChannelRate]
    trainable_parameters: int
    total_parameters: int  # of backbone, adapters and head


def _lines(counts: _Counts) -> list[str]:
    """The counts as lines of text."""
    lines = [_resampling(channel) for channel in counts.channels]
    for split_name, own in counts.parts.items():
        windows, subjects = counted(own.windows, "window"), counted(own.subjects, "subject")
        lines.append(f"{split_name}: {windows} of {subjects}")
    named = list(counts.left_out.items())[:_LEFT_OUT]
    lines += [f"left out: {id}: {reason}" for id, reason in named]
    if len(counts.left_out) > _LEFT_OUT:
        more, every = len(counts.left_out) - _LEFT_OUT, len(counts.left_out)
        lines.append(f"left out: {more} more; --json lists all {every}")
    lines += [f"reader: {count:,} {what}" for what, count in counts.notes.items()]
    audited = counts.audit["lines"]
    lines += [str(line) for line in audited] if isinstance(audited, list) else []
    share = counts.trainable_parameters / counts.total_parameters
    lines.append(
        f"trains {counts.trainable_parameters:,} of {counts.total_parameters:,} parameters "
        f"({share:.2%})"
    )
    return lines


def _resampling(channel: ChannelRate) -> str:
    """`Temp: 'Temp rectal' at 1 Hz -> 100 Hz: sparse, a value in 1 of 100 samples`."""
    source = "" if channel.source == channel.name else f"'{channel.source}' "
    rate_hz = channel.found_hz
    before = f"at {_hertz(rate_hz)}" if rate_hz else "irregular (time-stamped)"
    return f"{channel.name}: {source}{before} -> {_hertz(channel.rate_hz)}: {channel.how}"


def _hertz(rate_hz: float) -> str:
    seconds = round(1 / rate_hz)
    slow = seconds > 1 and math.isclose(rate_hz * seconds, 1.0, rel_tol=1e-6)
    return f"1/{seconds} Hz" if slow else f"{rate_hz:g} Hz"


def _counts(recipe: Recipe) -> _Counts:
    from tsfm_adapt.recipe.parts import SPLITS, prepare

    prepared = prepare(recipe)

    from tsfm_adapt.training.building import assembled, parameter_counts

    # A head is laid out by what the encoder gives for a window, so that it needs the weights.
    backbone = recipe.backbone.build(weights=recipe.head is not None)
    shared, train = prepared.shared_subjects, prepared.windows["train"]
    model = assembled(recipe, None, shared, train, backbone=backbone)
    trainable, total = parameter_counts(model)
    return _Counts(
        parts={
            name: _SplitCounts(len(prepared.windows[name]), prepared.subjects(name))
            for name in SPLITS
        },
        left_out=dict(prepared.left_out),
        notes=dict(prepared.notes),
        audit=prepared.audit.summary(),
        channels=list(prepared.rates),
        trainable_parameters=trainable,
        total_parameters=total,
    )
