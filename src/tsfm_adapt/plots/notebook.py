"""Pictures for a notebook: a recording, forecasts, filled gaps, attention, embeddings.

Each function returns a matplotlib figure: a notebook shows it after `%matplotlib inline`, and its
`savefig` writes it. What comes from the synthetic cohort is named so in the title.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tsfm_adapt._util.durations import time_unit
from tsfm_adapt.errors import DataError
from tsfm_adapt.evaluation.tables import quantile_columns
from tsfm_adapt.plots import attention
from tsfm_adapt.plots._panels import panels
from tsfm_adapt.signals.recording import BoolArray, FloatArray, Recording

if TYPE_CHECKING:
    import pandas
    import pyarrow
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tsfm_adapt.model import AdaptedModel
    from tsfm_adapt.signals.windows import Windows

_DOTS = 3000  # samples beyond which single ones cannot be seen
_BINS = 2000  # of a recording that has more samples than this many dots
_CELLS = 12  # channels up to which each cell of an attention has its number
_INTERVALS = 2  # models beyond which prediction intervals hide each other
_COLOURS = 10  # groups beyond which colours cannot be told apart


def recording(shown: Recording) -> Figure:
    """All channels over time; grey where nothing was measured, marked spans in colour.

    Of a long recording the lowest and the highest value of each stretch are drawn.
    """
    size, unit = time_unit(shown.duration_s)
    time = np.arange(shown.samples) / shown.rate_hz / size
    figure, axes = _stacked(len(shown.channels))
    labels = list(dict.fromkeys(span.label for span in shown.spans))
    for axis, name, of, values in zip(
        axes, shown.channels, shown.units, shown.values, strict=True
    ):
        measured = np.isfinite(values)
        _curve(axis, time, np.asarray(values, dtype=np.float64))
        _gaps(axis, time, measured)
        for span in shown.spans:
            colour = f"C{1 + labels.index(span.label) % 9}"
            first = axis.axvspan(span.start_s / size, span.stop_s / size, color=colour, alpha=0.2)
            first.set_label(span.label)
        axis.set_ylabel(f"{name}, {of}")
        axis.set_title(f"{1 - measured.mean():.1%} not measured", fontsize="small", loc="right")
    axes[-1].set_xlabel(f"time from the start, {unit}")
    axes[-1].set_xlim(0, shown.duration_s / size)
    handles = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
    if handles:
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=4)
    figure.suptitle(_titled(shown.id, shown))
    return figure


def forecast(
    shown: Recording,
    predictions: pandas.DataFrame | Mapping[str, pandas.DataFrame],
    *,
    origin_s: float | None = None,
    history_s: float | None = None,
) -> Figure:
    """A forecast beside what came: medians, and of one or two models the outermost quantiles.

    Args:
        shown: what was measured, before and after.
        predictions: as `Run.predict` or `zero_shot` gave them; several models by name.
        origin_s: where the context ends, seconds from the recording's start; None = the latest
            after which something was measured.
        history_s: how much of the past is drawn; None = four times what is forecast.

    Raises:
        DataError: the predictions hold no such forecast of this recording.
    """
    models = predictions if isinstance(predictions, Mapping) else {"forecast": predictions}
    own = {name: rows[rows["recording"] == shown.id] for name, rows in models.items()}
    origin_s = _origin(shown, own) if origin_s is None else origin_s
    at = {name: rows[np.isclose(rows["origin_s"], origin_s)] for name, rows in own.items()}
    empty = [name for name, rows in at.items() if rows.empty]
    if empty:
        raise DataError(
            f"plots.forecast: {empty[0]} has no forecast of '{shown.id}' from {origin_s:g} s. "
            "Take an origin_s of its table, or predict with every_s."
        )
    length_s = max(float(rows["time_s"].max()) for rows in at.values()) - origin_s
    first_s = max(0.0, origin_s - (4 * length_s if history_s is None else history_s))
    inside = _between(shown, first_s, origin_s + length_s + 1 / shown.rate_hz)
    seconds = np.arange(shown.samples)[inside] / shown.rate_hz
    size, unit = time_unit(length_s + origin_s - first_s)
    figure, axes = _stacked(len(shown.channels))
    for number, (axis, name) in enumerate(zip(axes, shown.channels, strict=True)):
        values = np.asarray(shown.values[number, inside], dtype=np.float64)
        time = (seconds - origin_s) / size
        axis.plot(time, values, ".-", color="black", ms=2, lw=0.8, label="measured")
        _gaps(axis, time, np.isfinite(values))
        for colour, (model, rows) in enumerate(at.items()):
            of = rows[rows["channel"] == name]
            low, middle, high = _interval(of)
            lead = (of["time_s"].to_numpy(dtype=float) - origin_s) / size
            if len(at) <= _INTERVALS:
                axis.fill_between(lead, low, high, color=f"C{colour}", alpha=0.2, lw=0)
            axis.plot(lead, middle, color=f"C{colour}", label=model)
            if not np.isfinite(middle).any():
                axis.set_title("not in the context", fontsize="small", loc="right")
        axis.axvline(0, color="C7", lw=0.8, ls=":")
        axis.set_ylabel(f"{name}, {shown.units[number]}")
    axes[-1].set_xlabel(f"time from the end of the context, {unit}")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, fontsize="small")
    levels = quantile_columns(next(iter(at.values())).columns)
    ends = f"{levels[0][1:]} to {levels[-1][1:]}"
    interval = f" and prediction interval {ends}" if len(at) <= _INTERVALS else ""
    figure.suptitle(_titled(f"{shown.id}: median{interval}", shown))
    return figure


def filled(
    shown: Recording,
    predictions: pandas.DataFrame,
    *,
    between_s: tuple[float, float] | None = None,
) -> Figure:
    """A recording with its gaps filled: what was measured, elsewhere the median and interval.

    Args:
        shown: the recording, with its gaps.
        predictions: as `Run.predict` of a run that fills gaps gave them.
        between_s: the stretch to draw, seconds from the recording's start; None = all of it.

    Raises:
        DataError: the predictions hold nothing of this recording.
    """
    own = predictions[predictions["recording"] == shown.id]
    if own.empty or "value" not in own:
        raise DataError(
            f"plots.filled: the table holds no filled gaps of '{shown.id}'. Give what Run.predict "
            "returns for a run with task impute."
        )
    first_s, stop_s = between_s or (0.0, shown.duration_s)
    inside = _between(shown, first_s, stop_s)
    size, unit = time_unit(stop_s - first_s)
    time = np.arange(shown.samples)[inside] / shown.rate_hz / size
    figure, axes = _stacked(len(shown.channels))
    for number, (axis, name) in enumerate(zip(axes, shown.channels, strict=True)):
        values = np.asarray(shown.values[number, inside], dtype=np.float64)
        axis.plot(time, values, ".-", color="black", ms=2, lw=0.8, label="measured")
        _gaps(axis, time, np.isfinite(values))
        of = own[(own["channel"] == name) & ~own["measured"]]
        at_s = of["time_s"].to_numpy(dtype=float)
        of = of[(at_s >= first_s) & (at_s < stop_s) & of["value"].notna().to_numpy()]
        low, middle, high = _interval(of)
        at = of["time_s"].to_numpy(dtype=float) / size
        axis.vlines(at, low, high, color="C0", alpha=0.35, lw=1)
        axis.plot(at, middle, ".", color="C0", ms=3, label="filled")
        left = int((~np.isfinite(values)).sum()) - len(of)
        if left:
            axis.set_title(f"{left} samples without an estimate", fontsize="small", loc="right")
        axis.set_ylabel(f"{name}, {shown.units[number]}")
    axes[-1].set_xlabel(f"time from the start, {unit}")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize="small")
    levels = quantile_columns(own.columns)
    ends = f"{levels[0][1:]} to {levels[-1][1:]}"
    title = f"{shown.id}: gaps filled, median and prediction interval {ends}"
    figure.suptitle(_titled(title, shown))
    return figure


def channel_attention(model: AdaptedModel, windows: Windows) -> Figure:
    """Draws the attention between channels, a panel for each place in the model; see `attention`.

    Args:
        model: such as `Run.model()`.
        windows: N of them, read at once; such as some of `prepare(recipe).windows["test"]`.

    Raises:
        RecipeError: channels do not attend to each other in this model.
    """
    shares = attention.channel_attention(model, windows)
    some = windows.recordings[0]
    names = list(model.setting.encoded or some.channels)
    count = len(names)
    highest = max(float(np.nanmax(share)) for share in shares.values())
    figure, axes = panels(len(shares), _columns(len(shares)))
    for axis, (place, share) in zip(axes, shares.items(), strict=False):
        axis.imshow(share, cmap="Blues", vmin=0, vmax=highest)
        if count <= _CELLS:
            for row, column in np.argwhere(np.isfinite(share)):
                dark = share[row, column] > highest / 2
                text = f"{share[row, column]:.2f}"
                colour = "white" if dark else "black"
                axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
        axis.set_xticks(range(count), names, rotation=45, ha="right")
        axis.set_yticks(range(count), names)
        axis.set(xlabel="looks at", ylabel="channel")
        axis.set_title(place, fontsize="small")
    figure.colorbar(axes[0].images[0], ax=axes[: len(shares)], label="share of the attention")
    title = f"{len(windows)} windows; evenly spread it would be {1 / count:.2f}"
    figure.suptitle(_titled(title, some))
    return figure


def embedding(table: pyarrow.Table, by: str = "subject") -> Figure:
    """The vectors of `embed` in the plane of their two widest directions (PCA), a panel a channel.

    Args:
        table: what `embed` wrote, as `pyarrow.parquet.read_table` reads it.
        by: the column that colours the points: subject, part, label, origin_s, ...

    Raises:
        DataError: there is no such column, or no channel has three vectors.
    """
    if by not in table.column_names:
        raise DataError(
            f"plots.embedding: there is no column '{by}'. It has: {', '.join(table.column_names)}."
        )
    rows = table.select(list(dict.fromkeys(("channel", "embedding", by)))).to_pandas()
    rows = rows[rows["embedding"].notna()]
    groups = {str(name): of for name, of in rows.groupby("channel", sort=False) if len(of) > 2}
    if not groups:
        raise DataError("plots.embedding: no channel has three vectors. Embed more windows.")
    number = rows[by].dtype.kind in "fiu"
    values = [] if number else sorted({str(value) for value in rows[by]})
    figure, axes = panels(len(groups), _columns(len(groups)))
    for axis, (channel, of) in zip(axes, groups.items(), strict=False):
        place, share = _principal(np.stack(of["embedding"].to_list()).astype(np.float64))
        if number:
            axis.scatter(place[:, 0], place[:, 1], c=of[by], s=8, cmap="viridis")
        for index, value in enumerate(values):
            some = place[(of[by].astype(str) == value).to_numpy()]
            many = len(values) > _COLOURS
            colour = f"C{index}" if not many else (index / (len(values) - 1), 0.4, 0.6)
            axis.scatter(some[:, 0], some[:, 1], s=8, color=colour, label=value)
        axis.set(title=channel, xlabel=f"direction 1 ({share[0]:.0%} of the variance)")
        axis.set_ylabel(f"direction 2 ({share[1]:.0%})")
    if number:
        figure.colorbar(axes[0].collections[0], ax=axes[: len(groups)], label=by)
    elif len(values) <= _COLOURS:
        handles, names = axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=5, fontsize="small")
    about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    coloured = f"coloured by {by}" + (f", {len(values)} of them" if len(values) > _COLOURS else "")
    synthetic = "SYNTHETIC data, " if about.get("synthetic") == "true" else ""
    figure.suptitle(f"{synthetic}{about.get('backbone', 'embeddings')}, {coloured}")
    return figure


def _columns(count: int) -> int:
    """Panels beside each other; four stand in a square."""
    return 2 if count in (2, 4) else 3


def _stacked(count: int) -> tuple[Figure, Sequence[Axes]]:
    """A panel above another, of one time axis."""
    figure, axes = panels(count, 1)
    figure.set_size_inches(9.0, max(3.0, 0.9 + 1.5 * count))
    for axis in axes[:-1]:
        axis.sharex(axes[-1])
        axis.tick_params(labelbottom=False)
    return figure, axes


def _titled(title: str, of: Recording) -> str:
    return f"{title} (SYNTHETIC)" if of.attributes.get("synthetic") else title


def _curve(axis: Axes, time: FloatArray, values: FloatArray) -> None:
    """A line with its gaps; of very many samples the range of each stretch."""
    if len(values) <= _BINS * 5:
        dots = ".-" if len(values) <= _DOTS else "-"
        axis.plot(time, values, dots, color="black", ms=2, lw=0.8)
        return
    each = -(-len(values) // _BINS)
    padded = np.full(each * -(-len(values) // each), np.nan)
    padded[: len(values)] = values
    stretches = padded.reshape(-1, each)
    measured = np.isfinite(stretches)
    low = np.where(measured, stretches, np.inf).min(1)
    high = np.where(measured, stretches, -np.inf).max(1)
    some = measured.any(1)
    axis.vlines(time[::each][some], low[some], high[some], color="black", lw=0.8)


def _gaps(axis: Axes, time: FloatArray, measured: BoolArray) -> None:
    """Grey where nothing was measured, from half a sample before to half a sample after."""
    if measured.all() or len(time) < 2:
        return
    half = (time[1] - time[0]) / 2
    edges = np.flatnonzero(np.diff(~measured, prepend=False, append=False)).reshape(-1, 2)
    gaps = [(time[first] - half, (stop - first) * 2 * half) for first, stop in edges.tolist()]
    axis.broken_barh(
        gaps, (0, 1), transform=axis.get_xaxis_transform(), color="0.9", zorder=0, lw=0
    )


def _origin(shown: Recording, models: Mapping[str, pandas.DataFrame]) -> float:
    """The latest origin of all models whose future is within the recording; else the latest."""
    common = set.intersection(*(set(rows["origin_s"]) for rows in models.values()))
    if not common:
        raise DataError(
            f"plots.forecast: {', '.join(models)} have no common forecast of '{shown.id}'. Give "
            "the recording that was predicted."
        )
    rows = next(iter(models.values()))
    length_s = float((rows["time_s"] - rows["origin_s"]).max())
    inside = [s for s in common if s + length_s < shown.duration_s]
    return float(max(inside or common))


def _between(shown: Recording, first_s: float, stop_s: float) -> slice:
    """The samples from one time to before another."""
    first, stop = (round(second * shown.rate_hz) for second in (first_s, stop_s))
    return slice(max(0, first), max(0, stop))


def _interval(rows: pandas.DataFrame) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The lowest quantile, the one next to the median, and the highest."""
    levels = quantile_columns(rows.columns)
    middle = min(levels, key=lambda level: abs(float(level[1:]) - 0.5))
    low, central, high = (
        rows[level].to_numpy(dtype=float) for level in (levels[0], middle, levels[-1])
    )
    return low, central, high


def _principal(vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Places (N, 2) along the two widest directions, and their shares of the variance (2,)."""
    centred = vectors - vectors.mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    place = np.zeros((len(vectors), 2))
    share = np.zeros(2)
    own = min(2, len(size))
    place[:, :own] = left[:, :own] * size[:own]
    share[:own] = np.square(size[:own]) / max(float(np.square(size).sum()), 1e-30)
    return place, share
