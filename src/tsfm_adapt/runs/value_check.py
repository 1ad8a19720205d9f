"""Whether values to predict on can be what a model learned from, or are in another unit."""

from __future__ import annotations

from collections.abc import Iterable

from tsfm_adapt.errors import DataError
from tsfm_adapt.runs.bundle import Card
from tsfm_adapt.signals.channel_rules import ChannelPlan, CleaningPlan
from tsfm_adapt.signals.levels import Doubt, Level, Tally, doubt, odd_recordings, tallied
from tsfm_adapt.signals.recording import IrregularReadings, Recording
from tsfm_adapt.signals.units import Conversion

_MOST = 0.5  # of a channel's values: where ranges remove more, little is left to predict from


def check_values(
    card: Card | None,
    plan: CleaningPlan,
    items: Iterable[Recording | IrregularReadings],
    any_values: bool = False,
) -> list[str]:
    """Sentences about values that are unusual, or that the recipe's ranges remove.

    Args:
        card: of the bundle; None, or one without levels, leaves the comparison with train out.
        plan: of the recipe.
        items: as a reader yields them, before cleaning.
        any_values: a sentence in place of an error.

    Raises:
        DataError: a channel's median is far from what the model learned from, and another unit
            would explain it.
    """
    tallies = tallied(items, plan)
    remarks: list[str] = []
    for channel in plan.channels:
        tally = tallies[channel.name]
        usual = None if card is None else card.levels.get(channel.name)
        if usual is not None:
            remarks += _compared(channel, tally, Level(*usual), any_values)
        if tally.outside > _MOST * tally.measured:
            low, high = plan.ranges[channel.name]
            remarks.append(
                f"{channel.name}: {tally.outside:,} of {tally.measured:,} values lie outside "
                f"data.cleaning.ranges ({low:g} to {high:g} {channel.unit}) and count as missing"
            )
    return remarks


def _compared(channel: ChannelPlan, tally: Tally, usual: Level, any_values: bool) -> list[str]:
    """What is to be said of a channel beside the values of train.

    Raises:
        DataError: see `check_values`.
    """
    seen = tally.level
    if seen is None:
        return []
    found = doubt(seen, usual, channel.unit)
    if found is not None:
        said = _said(channel, usual, found)
        if found.fitting is None:
            return [f"{said}. Check its unit"]
        looks = f"{said}; {_as_other(found.seen, found.fitting)}"
        if any_values:
            return [looks]
        raise DataError(f"{looks}. {_step(channel)}, or go on as it is.", remedy="any_values")
    odd, conversion = odd_recordings(tally, usual, channel.unit)
    if conversion is None:
        return []
    more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
    return [
        f"{channel.name}: {len(odd)} of {len(tally.medians)} recordings ({', '.join(odd[:3])}"
        f"{more}) look like {conversion.name} ({conversion}): their medians are far from the "
        f"{usual} {channel.unit} that the model learned from"
    ]


def _said(channel: ChannelPlan, usual: Level, found: Doubt) -> str:
    if usual.low > 0:
        what = f"the median of the input is {found.seen.middle:.4g} {channel.unit}"
    else:
        what = f"the input reaches from {found.seen} {channel.unit}"
    return f"{channel.name}: {what}, but the model learned from {usual} {channel.unit}"


def _as_other(seen: Level, fitting: Conversion) -> str:
    middle = seen.middle * fitting.scale + fitting.offset
    return f"{fitting}, as from {fitting.name}, its median would be {middle:.4g}"


def _step(channel: ChannelPlan) -> str:
    if channel.from_unit is not None:
        return f"The recipe takes the files' values as {channel.from_unit}: convert them first"
    return "State the unit of the input in its files or by its reader, or convert it"
