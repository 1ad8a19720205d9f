"""When recordings are measured: a panel each, channels over time."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from tsfm_adapt.plots._panels import panels
from tsfm_adapt.proposal.survey import Pictured, Survey

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABELLED = 40  # channels beyond which names cannot be read
_NAME = 24  # letters of a name
_UNITS = ((172800.0, 86400.0, "days"), (7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (0, 1.0, "s"))


def png(survey: Survey, title: str) -> bytes:
    """The first recordings: blue where measured, red where the value is 0, white in gaps."""
    shown = survey.pictured
    figure, axes = panels(len(shown), 3)
    for axis, recording in zip(axes, shown, strict=False):
        _panel(axis, recording)
    figure.suptitle(
        f"{_plain(title, 60)}: {len(shown)} of {len(survey.listed)}"
        f"{' or more' if survey.more else ''} recordings (blue measured, red 0, white nothing)"
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _panel(axis: Axes, recording: Pictured) -> None:
    size, unit = next((s, u) for least, s, u in _UNITS if recording.duration_s >= least)
    measured, zero = recording.measured[..., None], recording.zero[..., None]
    blue, red = np.array([0.12, 0.35, 0.65]), np.array([0.85, 0.2, 0.15])
    colour = 1 - measured * (1 - (blue * (1 - zero) + red * zero))
    count = len(recording.channels)
    axis.imshow(
        np.clip(colour, 0, 1),
        aspect="auto",
        interpolation="nearest",
        extent=(0, max(recording.duration_s / size, 1e-9), count - 0.5, -0.5),
    )
    names = [_plain(name, _NAME) for name in recording.channels]
    step = -(-count // _LABELLED)
    small = 7 if count <= 12 else 4
    axis.set_yticks(range(0, count, step), names[::step], fontsize=small)
    axis.set_xlabel(unit, fontsize=7)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_title(_plain(recording.id, 40), fontsize=8)


def _plain(name: str, longest: int) -> str:
    """A name from a file as a label: no formulas, no line breaks, no glyphs that fonts lack."""
    shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in name)
    shown = shown.replace("$", r"\$")
    return shown if len(shown) <= longest else f"{shown[: longest - 2]}.."
