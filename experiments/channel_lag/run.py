"""What adapters that join channels make of a known lag between them, on the SYNTHETIC cohort.

Run:   python experiments/channel_lag/run.py score [longer] [--tiny]
       python experiments/channel_lag/run.py report [--tiny]     (table.md and gains.png)
Needs: nothing. `score` goes on where it was stopped; `longer` adds variants that train for longer
and at a higher rate; `report` shows what is finished and needs the run folders. `--tiny`: four
steps, apart from the results.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tsfm_adapt.evaluation.forecast_errors import ForecastErrors
from tsfm_adapt.evaluation.forecast_scoring import compare_forecasts
from tsfm_adapt.signals.readers import synthetic
from tsfm_adapt.signals.recording import Recording

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from exchange import Sources, exchange, put_back, shuffled, write  # noqa: E402
from grid import Bench, Condition, averaged, finish, read, table  # noqa: E402

TINY = "--tiny" in sys.argv
RUNS = Path("runs/channel_lag_tiny" if TINY else "runs/channel_lag")
OUTPUT = RUNS if TINY else HERE  # of what is to be committed
RESULTS = OUTPUT / "results"
BENCH = Bench(RUNS)

PARTS = {"train": 6, "val": 5, "test": 8} if TINY else {"train": 60, "val": 10, "test": 30}
HOURS = 8.0 if TINY else 24.0
CHANNELS = {"HR": "bpm", "SpO2": "%", "RESP": "breaths/min", "MAP": "mmHg"}
LAGS_S = {coupling.follower: coupling.lag_s for coupling in synthetic.COUPLINGS}
DATA = ("as_is", "shuffled")
BACKBONES = ("chronos_bolt", "chronos2")
SEEDS = (17, 23, 42)  # of training
BUDGET: dict[str, Any] = {"train.batch_size": 32, "train.validate_every": 50}
BUDGET |= {"train.val_windows": 192}
SMALL = {"train.batch_size": 4, "train.validate_every": 2, "train.val_windows": 8}

LORA = {
    "name": "lora",
    "rank": 8,
    "alpha": 16,
    "sites": ["attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out"],
    "lr": 3e-3,
}
MIXER = {"name": "channel_mixer", "lr": 3e-3}
PROMPT = {"name": "generated_prompt", "lr": 3e-3}
FAST = {"lr": 1e-2}


@dataclass(frozen=True)
class Variant:
    """Adapters that train together, each at its own rate."""

    adapters: tuple[dict[str, Any], ...]
    steps: int = 300
    against: str | None = None  # the variant that lacks what joins the channels


VARIANTS = {
    "none": Variant(()),
    "lora": Variant((LORA,)),
    "lora+channel_mixer": Variant((LORA, MIXER), against="lora"),
    "channel_mixer": Variant((MIXER,), against="lora"),
    "lora+generated_prompt": Variant((LORA, PROMPT), against="lora"),
    "generated_prompt": Variant((PROMPT,), against="lora"),
}
LONGER = {
    "lora-long": Variant((LORA,), 900),
    "lora+channel_mixer-long": Variant((LORA, MIXER), 900, "lora-long"),
    "lora+channel_mixer-fast": Variant((LORA, MIXER | FAST), 900, "lora-long"),
    "lora+channel_mixer-wide": Variant((LORA, MIXER | {"width": 64}), 900, "lora-long"),
    "lora+generated_prompt-fast": Variant((LORA, PROMPT | FAST), 900, "lora-long"),
}


@cache
def cohort() -> dict[str, list[Recording]]:
    """The recordings by part."""
    config = synthetic.Config(subjects=sum(PARTS.values()), hours=HOURS)
    recordings = config.read(tuple(CHANNELS))
    return {part: list(islice(recordings, count)) for part, count in PARTS.items()}


def sources(part: str) -> Sources:
    """Where the channels of a part come from in the shuffled cohort."""
    subjects = [recording.subject for recording in cohort()[part]]
    return exchange(subjects, len(CHANNELS), seed=list(PARTS).index(part))


def write_cohort() -> None:
    """Both versions as files, where they are not there yet."""
    mixed = {part: shuffled(some, sources(part)) for part, some in cohort().items()}
    for name, version in zip(DATA, (cohort(), mixed), strict=True):
        if not file(name).exists():
            write(version, file(name))


def file(data: str) -> Path:
    """Of a version of the cohort."""
    return RUNS / "data" / f"{data}.parquet"


@dataclass(frozen=True)
class Point:
    """What a cell is about."""

    backbone: str
    variant: str
    data: str
    seed: int

    @property
    def name(self) -> str:
        """Of the result file."""
        seed = f"-{self.seed}" if self.variant != "none" else ""
        return f"{self.data}-{self.backbone}-{self.variant}{seed}"

    def cell(self) -> Condition:
        """The recipe's changes."""
        variant = (VARIANTS | LONGER)[self.variant]
        reader = {
            "name": "parquet",
            "root": str(file(self.data)),
            "layout": "wide",
            "subject": "subject",
            "units": CHANNELS,
            "labels": ["part"],
            "rate_hz": "1/60",
        }
        changes = {
            "seed": self.seed,
            "data.reader": reader,
            "data.channels": CHANNELS,
            "data.split": {"by": "predefined"},
            "backbone": {"name": self.backbone},
            "adapters": list(variant.adapters),
            "train.steps": 4 if TINY else variant.steps,
        }
        return Condition(self.name, "vitals_forecast", changes | (SMALL if TINY else BUDGET))


def points(variants: dict[str, Variant]) -> Iterator[Point]:
    """The most telling first: all variants with the first seed."""
    for seed in SEEDS:
        for variant in variants:
            for backbone in BACKBONES:
                for data in DATA:
                    if variant != "none" or seed == SEEDS[0]:
                        yield Point(backbone, variant, data, seed)


@cache
def errors(backbone: str, variant: str, data: str) -> tuple[ForecastErrors, int] | None:
    """Errors averaged over the finished seeds, and how many; those of shuffled put back."""
    names = dict.fromkeys(Point(backbone, variant, data, seed).name for seed in SEEDS)
    found = [scores for name in names if (scores := read(RESULTS, name)) is not None]
    if not found:
        return None
    mean = averaged([BENCH.errors(scores) for scores in found])
    return (put_back(mean, sources("test")) if data == "shuffled" else mean), len(found)


def scale() -> np.ndarray:
    """(C,) of MASE, the same for both versions of the cohort."""
    scores = read(RESULTS, Point(BACKBONES[0], "none", DATA[0], SEEDS[0]).name)
    assert scores is not None  # comes first
    return np.array(scores["mase_scale"])


def leads(of: ForecastErrors, first: int, stop: int) -> ForecastErrors:
    """The errors of steps first+1 to stop."""
    arrays = [one.name for one in fields(of) if one.name != "subjects"]
    return replace(of, **{name: getattr(of, name)[..., first:stop] for name in arrays})


def gain(
    better: ForecastErrors,
    reference: ForecastErrors,
    channel: str | None = None,
    steps: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Percent lower MASE, of a channel and of some steps where they are given."""
    first, stop = steps or (0, better.target.shape[-1])
    by = scale()
    if channel is not None:
        by = np.where([name == channel for name in CHANNELS], by, np.nan)
    return asdict(
        compare_forecasts(leads(better, first, stop), leads(reference, first, stop), by, block=1)
    )


def report() -> None:
    """Writes table.md and gains.png."""
    known = VARIANTS | LONGER
    shown = [(b, v) for v in known for b in BACKBONES if errors(b, v, "as_is")]
    tables = [
        table(_score_header(), [_scores(b, v, data) for b, v in shown for data in DATA]),
        table(_gain_header("over", "data"), list(_joined(shown))),
        table(_gain_header(), list(_coupled(shown))),
    ]
    titles = (
        "MASE",
        "Over the variant without what joins channels, % lower MASE",
        "As is over shuffled, % lower MASE",
    )
    text = "\n\n".join(f"## {title}\n\n{each}" for title, each in zip(titles, tables, strict=True))
    OUTPUT.mkdir(parents=True, exist_ok=True)
    (OUTPUT / "table.md").write_text(f"{text}\n")
    _draw(shown)


def _score_header() -> tuple[str, ...]:
    return ("backbone", "adapters", "data", "seeds", "MASE", *CHANNELS)


def _scores(backbone: str, variant: str, data: str) -> tuple[str, ...]:
    found = errors(backbone, variant, data)
    if found is None:
        return (backbone, variant, data, "0", *["-"] * (1 + len(CHANNELS)))
    absolute, count = found[0].sums()
    by_channel = absolute.sum(0) / count.sum(0) / scale()
    values = (by_channel.mean(), *by_channel)
    return (backbone, variant, data, str(found[1]), *(f"{value:.3f}" for value in values))


def _gain_header(*between: str) -> tuple[str, ...]:
    within = [
        f"{follower} {part} {lag_s / 60:.0f} min"
        for follower, lag_s in LAGS_S.items()
        for part in ("up to", "after")
    ]
    return ("backbone", "adapters", *between, "all channels", *within, "RESP")


def _gains(better: ForecastErrors, reference: ForecastErrors) -> Iterator[str]:
    """Of all channels, of each follower within its lag and after it, and of the leader."""
    steps = better.target.shape[-1]
    yield _brief(gain(better, reference))
    for follower, lag_s in LAGS_S.items():
        lag = round(lag_s / 60)
        yield _brief(gain(better, reference, follower, (0, lag)))
        yield _brief(gain(better, reference, follower, (lag, steps)))
    yield _brief(gain(better, reference, "RESP"))


def _brief(compared: dict[str, Any]) -> str:
    """Percent with the interval; bold where the interval leaves 0 out."""
    difference, low, high = (compared[key] for key in ("difference", "low", "high"))
    mark = "**" if low > 0 or high < 0 else ""
    return f"{mark}{difference:+.1f}{mark} [{low:+.1f}, {high:+.1f}]"


def _joined(shown: list[tuple[str, str]]) -> Iterator[tuple[str, ...]]:
    """Every variant that joins channels against the one that does not, on the same data."""
    for backbone, variant in shown:
        against = (VARIANTS | LONGER)[variant].against
        for data in DATA if against else ():
            ours, theirs = errors(backbone, variant, data), errors(backbone, against, data)
            if ours and theirs:
                yield (backbone, variant, against, data, *_gains(ours[0], theirs[0]))


def _coupled(shown: list[tuple[str, str]]) -> Iterator[tuple[str, ...]]:
    """Every variant on the cohort as it is against itself on the same series exchanged."""
    for backbone, variant in shown:
        ours, theirs = (errors(backbone, variant, data) for data in DATA)
        if ours and theirs:
            yield (backbone, variant, *_gains(ours[0], theirs[0]))


def _draw(shown: list[tuple[str, str]]) -> None:
    """Gain of as is over shuffled against the time ahead, a panel a follower and backbone."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(BACKBONES),
        len(LAGS_S),
        figsize=(12, 7),
        sharex=True,
        sharey="col",
        layout="constrained",
    )
    width = 5  # minutes
    for line, backbone in zip(axes, BACKBONES, strict=True):
        for axis, (follower, lag_s) in zip(line, LAGS_S.items(), strict=True):
            for number, variant in enumerate(v for v in VARIANTS if (backbone, v) in shown):
                ours, theirs = (errors(backbone, variant, data) for data in DATA)
                if not ours or not theirs:
                    continue
                firsts = range(0, ours[0].target.shape[-1], width)
                found = [
                    gain(ours[0], theirs[0], follower, (first, first + width)) for first in firsts
                ]
                middle = np.array([each["difference"] for each in found])
                low, high = (np.array([each[key] for each in found]) for key in ("low", "high"))
                at = np.array(firsts) + width / 2 + 0.25 * (number - 2.5)
                spread = [middle - low, high - middle]
                axis.errorbar(at, middle, yerr=spread, fmt="o-", capsize=2, ms=3, label=variant)
            axis.axvline(lag_s / 60, color="0.4", linestyle="--", label="lag")
            axis.axhline(0, color="0.7", linewidth=1)
            axis.set_title(f"{follower}, {backbone}")
        line[0].set_ylabel("% lower MASE")
    for axis in axes[-1]:
        axis.set_xlabel("minutes ahead")
    entries: dict[str, Any] = {}
    for axis in axes.flat:
        handles, labels = axis.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(entries.values(), entries, loc="outside lower center", ncols=7)
    figure.suptitle("SYNTHETIC cohort: as it is over shuffled, what the coupling gives")
    figure.savefig(OUTPUT / "gains.png", dpi=110)


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--tiny"]
    if words in (["score"], ["score", "longer"]):
        write_cohort()
        cells = [point.cell() for point in points(VARIANTS)]
        cells += [point.cell() for point in points(LONGER)] if "longer" in words else []
        sys.exit(len(finish(cells, RESULTS, lambda cell: BENCH.scores(cell.load()))))
    elif words == ["report"]:
        report()
    else:
        sys.exit(__doc__)
