"""Ten ways to adapt both Chronos backbones, on glucose and on the hourly ICU protocol.

Run:   TSFM_ADAPT_DATA=... python experiments/peft_on_vitals/run.py score [--tiny]
       python experiments/peft_on_vitals/run.py cost [--tiny]       (on an idle machine)
       python experiments/peft_on_vitals/run.py report [--tiny]     (table.md and accuracy.png)
Needs: the recordings of the two recipes. `score` tries the learning rates of a cell on the
validation part first, scores the better one on test, and goes on where it was stopped; `cost`
times a step of every method in one go; `report` shows what is finished and needs the run folders.
`--tiny`: four steps, apart from the results.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tsfm_adapt._util import atomic
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.evaluation.forecast_scoring import compare_forecasts

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from grid import Bench, Condition, averaged, finish, interval, read, table, validate  # noqa: E402

TINY = "--tiny" in sys.argv
RUNS = Path("runs/peft_on_vitals_tiny" if TINY else "runs/peft_on_vitals")
OUTPUT = RUNS if TINY else HERE  # of what is to be committed
RESULTS = OUTPUT / "results"
BENCH = Bench(RUNS)

RECIPES = ("icu_hourly_forecast", "glucose_forecast")
BACKBONES = ("chronos_bolt", "chronos2")
SEEDS = (17, 23, 42)  # of training; the split is the recipe's
BUDGET = {"train.batch_size": 32, "train.steps": 200} | {
    "train.validate_every": 50,
    "train.val_windows": 128,
}
SMALL = {"train.batch_size": 4, "train.steps": 4} | {
    "train.validate_every": 2,
    "train.val_windows": 8,
    "evaluate.max_windows": 32,
}
ATTENTION = ["attn.q", "attn.k", "attn.v", "attn.out"]


@dataclass(frozen=True)
class Method:
    """An adapter, or a head on a frozen backbone, and the rates tried on the validation part."""

    adapter: dict[str, Any] | None
    rates: tuple[float, float]
    head: dict[str, Any] | None = None


# Rates: around those of first_results for LoRA and full; for the others around the papers' own,
# which are higher the fewer and the further from the weights the parameters are.
METHODS = {
    "lora": Method({"name": "lora", "rank": 4, "alpha": 8, "sites": ATTENTION}, (1e-3, 5e-3)),
    "full": Method({"name": "full"}, (3e-4, 1e-3)),
    "channel_mixer": Method({"name": "channel_mixer"}, (1e-3, 5e-3)),
    "generated_prompt": Method({"name": "generated_prompt"}, (1e-3, 1e-2)),
    "fourierft": Method(
        {"name": "fourierft", "frequencies": 100, "sites": ATTENTION}, (1e-2, 1e-1)
    ),
    "vera": Method({"name": "vera", "sites": ATTENTION}, (1e-2, 3e-2)),
    "norm": Method({"name": "norm"}, (3e-3, 1e-2)),
    "prompt": Method({"name": "prompt", "tokens": 8, "depth": "deep"}, (1e-3, 1e-2)),
    "dora": Method(
        {"name": "lora", "rank": 4, "alpha": 8, "dora": True, "sites": ATTENTION}, (1e-3, 5e-3)
    ),
    "probe": Method(None, (1e-3, 1e-2), head={"name": "linear_forecast"}),
}


@dataclass(frozen=True)
class Point:
    """What a cell is about."""

    recipe: str
    backbone: str
    method: str
    seed: int | None = None  # None = nothing trains

    @property
    def name(self) -> str:
        """Of the result file."""
        stem = f"{self.recipe.removesuffix('_forecast')}-{self.backbone}-{self.method}"
        return stem if self.seed is None else f"{stem}-{self.seed}"

    def cell(self, rate: float | None = None) -> Condition:
        """The cell at a learning rate; None = no training."""
        changes: dict[str, Any] = {"backbone": {"name": self.backbone}, "adapters": []}
        changes |= SMALL if TINY else BUDGET
        if rate is not None:
            method = METHODS[self.method]
            changes |= {"adapters": [method.adapter] if method.adapter else [], "train.lr": rate}
            changes |= {"head": method.head} if method.head else {}
        if self.seed is not None:
            changes["seed"] = self.seed
        name = self.name if rate is None else f"{self.name}-{rate:g}"
        return Condition(name, self.recipe, changes)


def points() -> Iterator[Point]:
    """The most telling first: what needs no training, then every method with the first seed."""
    for recipe in RECIPES:
        yield Point(recipe, BACKBONES[0], "baselines")
        for backbone in BACKBONES:
            yield Point(recipe, backbone, "zero_shot")
    for seed in SEEDS:
        for method in METHODS:
            for recipe in RECIPES:
                for backbone in BACKBONES:
                    yield Point(recipe, backbone, method, seed)


def measure(point: Point) -> dict[str, Any]:
    """The result of a cell; a method that does not fit the data gives its refusal."""
    if point.method == "baselines":
        return BENCH.baselines(point.cell().load())
    if point.seed is None:
        return BENCH.scores(point.cell().load())
    try:
        rate = chosen(point)
        return {"rate": rate} | BENCH.scores(point.cell(rate).load())
    except RecipeError as refusal:
        return {"refused": str(refusal)}


def chosen(point: Point) -> float:
    """The rate with the lower validation loss, of the first seed; its run is that seed's cell."""
    first = Point(point.recipe, point.backbone, point.method, SEEDS[0])
    cells = {rate: first.cell(rate) for rate in METHODS[point.method].rates}
    losses = validate(cells.values(), RESULTS / "validation.json", BENCH)
    return min(cells, key=lambda rate: losses[cells[rate].name]["loss"])


def costs() -> None:
    """Writes results/cost.json: seconds of a step, {protocol-backbone-method: s}."""
    seconds: dict[str, float] = {}
    for recipe in RECIPES:
        for backbone in BACKBONES:
            for method, settings in METHODS.items():
                point = Point(recipe, backbone, method)
                try:
                    seconds[point.name] = _seconds_of_a_step(point, settings.rates[0])
                except RecipeError:  # a refusal, which is the cell's result too
                    continue
                print(point.name, f"{seconds[point.name]:.3f} s", flush=True)
    atomic.write_text(RESULTS / "cost.json", json.dumps(seconds, indent=1) + "\n")


def _seconds_of_a_step(point: Point, rate: float) -> float:
    """Of the steps after those that warm up."""
    cell = point.cell(rate)
    few, more = 4, 4 if TINY else 16
    spent = []
    for steps in (few, few + more):
        brief = {"train.steps": steps, "train.validate_every": steps, "train.val_windows": 8}
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(Path(folder), BENCH.known_parts)
            changed = Condition(cell.name, cell.recipe, {**cell.changes, **brief})
            spent.append(bench.train(changed.load())[1].train_seconds)
    return (spent[1] - spent[0]) / more


@dataclass(frozen=True)
class Row:
    """A method on a backbone and a protocol, over the seeds that are finished."""

    point: Point
    seeds: list[dict[str, Any]]  # results

    def gain(self) -> dict[str, Any]:
        """Percent lower MASE than zero-shot: errors averaged over seeds, subjects resampled."""
        zero_shot = read(RESULTS, Point(self.point.recipe, self.point.backbone, "zero_shot").name)
        assert zero_shot is not None  # comes first
        scale = np.array(zero_shot["mase_scale"])
        mine = averaged([BENCH.errors(scores) for scores in self.seeds])
        return asdict(compare_forecasts(mine, BENCH.errors(zero_shot), scale, block=1))

    def mean(self, *keys: str) -> float:
        """A number of the results over the seeds."""
        values = []
        for scores in self.seeds:
            value: Any = scores
            for key in keys:
                value = value[key]
            values.append(value)
        return float(np.mean(values))


def finished() -> tuple[list[Row], list[tuple[Point, str]]]:
    """Rows with a result, and the refused with their reasons."""
    rows, refused = [], []
    for recipe in RECIPES:
        for backbone in BACKBONES:
            for method in METHODS:
                every = [Point(recipe, backbone, method, seed) for seed in SEEDS]
                seeds = [s for point in every if (s := read(RESULTS, point.name)) is not None]
                reasons = [s["refused"] for s in seeds if "refused" in s]
                if reasons:
                    refused.append((every[0], reasons[0]))
                elif seeds:
                    rows.append(Row(every[0], seeds))
    return rows, refused


def report() -> None:
    """Writes table.md and accuracy.png."""
    rows, refused = finished()
    gains = [row.gain() for row in rows]
    lines = [*_untrained(), *map(_line, rows, gains)]
    for point, reason in refused:
        head = (point.recipe.removesuffix("_forecast"), point.backbone, point.method)
        lines.append((*head, f"refused: {reason.splitlines()[0]}", *["-"] * 7))
    header = (
        *("protocol", "backbone", "method", "MASE, short / whole", "against zero-shot"),
        *("seeds", "single seeds", "rate", "trained parameters", "s a step, of LoRA's", "peak MB"),
    )
    (OUTPUT / "table.md").write_text(table(header, lines) + "\n")
    _draw(rows, gains)


def _untrained() -> Iterator[tuple[str, ...]]:
    for recipe in RECIPES:
        name = recipe.removesuffix("_forecast")
        for backbone in BACKBONES:
            scores = read(RESULTS, Point(recipe, backbone, "zero_shot").name)
            if scores is not None:
                yield (name, backbone, "zero-shot", _both(scores, "model"), *["-"] * 7)
        scores = read(RESULTS, Point(recipe, BACKBONES[0], "baselines").name)
        for baseline in scores["models"] if scores else ():
            yield (name, "-", baseline, _both(scores, baseline), *["-"] * 7)


def _both(scores: dict[str, Any], model: str) -> str:
    short, whole = scores["horizons"].values()
    return " / ".join(f"{each[model]['overall']['mase']:.3f}" for each in (short, whole))


def _line(row: Row, gain: dict[str, Any]) -> tuple[str, ...]:
    short, whole = (
        row.mean("horizons", seconds, "model", "overall", "mase")
        for seconds in row.seeds[0]["horizons"]
    )
    zero_shot = read(RESULTS, Point(row.point.recipe, row.point.backbone, "zero_shot").name)
    before = zero_shot["models"]["model"]["overall"]["mase"]
    single = [100 * (1 - s["models"]["model"]["overall"]["mase"] / before) for s in row.seeds]
    return (
        *(row.point.recipe.removesuffix("_forecast"), row.point.backbone, row.point.method),
        *(f"{short:.3f} / {whole:.3f}", interval(gain), str(len(row.seeds))),
        f"{min(single):+.1f} to {max(single):+.1f} %",
        f"{row.seeds[0]['rate']:g}",
        f"{row.mean('trainable_parameters'):,.0f}",
        _cost(row.point),
        f"{row.mean('training', 'peak_memory_mb'):.0f}",
    )


def _cost(point: Point) -> str:
    """Seconds of a step, and how many times those of LoRA."""
    seconds = read(RESULTS, "cost") or {}
    names = [Point(point.recipe, point.backbone, method).name for method in (point.method, "lora")]
    if not seconds.keys() >= set(names):
        return "-"
    own, of_lora = (seconds[name] for name in names)
    return f"{own:.2f}, {own / of_lora:.1f} x"


def _draw(rows: list[Row], gains: list[dict[str, Any]]) -> None:
    """Gain against trained parameters, a point a method, intervals over subjects."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(RECIPES), len(BACKBONES), figsize=(11, 8), sharex=True, layout="constrained"
    )
    for line, recipe in zip(axes, RECIPES, strict=True):
        for axis, backbone in zip(line, BACKBONES, strict=True):
            for row, gain in zip(rows, gains, strict=True):
                if (row.point.recipe, row.point.backbone) != (recipe, backbone):
                    continue
                number = list(METHODS).index(row.point.method)
                middle = gain["difference"]
                axis.errorbar(
                    row.mean("trainable_parameters"),
                    middle,
                    yerr=[[middle - gain["low"]], [gain["high"] - middle]],
                    fmt="osD^v<>phX"[number],
                    color=f"C{number}",
                    capsize=3,
                    label=row.point.method.replace("_", " "),
                )
            axis.axhline(0, color="0.6", linewidth=1)
            axis.set_xscale("log")
            axis.set_title(f"{recipe.removesuffix('_forecast').replace('_', ' ')}, {backbone}")
            axis.set_ylabel("% lower MASE than zero-shot")
        for axis in axes[-1]:
            axis.set_xlabel("trained parameters")
    entries: dict[str, Any] = {}
    for axis in axes.flat:
        found, labels = axis.get_legend_handles_labels()
        entries |= dict(zip(labels, found, strict=True))
    if entries:
        figure.legend(entries.values(), entries, loc="outside lower center", ncols=5)
    figure.savefig(OUTPUT / "accuracy.png", dpi=110)


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--tiny"]
    if words == ["score"]:
        by_name = {point.name: point for point in points()}
        cells = [point.cell() for point in by_name.values()]
        sys.exit(len(finish(cells, RESULTS, lambda cell: measure(by_name[cell.name]))))
    elif words == ["cost"]:
        costs()
    elif words == ["report"]:
        report()
    else:
        sys.exit(__doc__)
