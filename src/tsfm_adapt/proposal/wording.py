"""Numbers in the comments of a recipe."""

from __future__ import annotations

from tsfm_adapt.proposal.survey import Channel


def share_measured(channel: Channel) -> str:
    """Of the samples; not 100% where one is missing."""
    share = channel.measured / max(channel.samples, 1)
    return "over 99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"


def readings(channel: Channel) -> str:
    """How many a recording has."""
    return f"{channel.readings:.2g}" if channel.readings < 10 else f"{channel.readings:,.0f}"
