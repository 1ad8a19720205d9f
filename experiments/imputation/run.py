"""Ways to fill gaps with every family, on an ICU monitor by the minute and on Challenge 2012.

Run:   TSFM_ADAPT_DATA=... python experiments/imputation/run.py score
       python experiments/imputation/run.py report      (table.md and gaps.png)
Needs: the recordings of the two recipes and the extra `moirai`. Every model fills the same masks.
One seed, settings chosen beforehand and for none of them; finished cells are not run again.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tsfm_adapt.evaluation.forecast_scoring import compare_forecasts

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from grid import Bench, Condition, finish, interval, read, table  # noqa: E402

RUNS = Path("runs/imputation")
RESULTS = HERE / "results"
BENCH = Bench(RUNS)

RECIPES = ("icu_minute_imputation", "icu2012_imputation")
BACKBONES = (
    *("chronos_bolt", "chronos2", "moment", "moirai", "moirai2"),
    *("timesfm", "timesfm3", "lag_llama", "chronos_t5"),
)
# A token a sample, decoded one by one: the many gaps of Challenge 2012 would take hours.
ONLY_MINUTE = ("chronos_t5", "lag_llama")
LORA = {"name": "lora", "rank": 8, "alpha": 16, "sites": ["attn.q", "attn.v", "mlp.out"]}
MIXER = {"name": "channel_mixer"}
HEAD = {"name": "reconstruction", "lr": 3e-3}
BUDGET = {"train.steps": 300, "train.batch_size": 32, "train.lr": 1e-3}


@dataclass(frozen=True)
class Way:
    """How a backbone fills gaps."""

    backbone: str
    route: str  # two_sided, native or head
    trained: bool
    mixed: bool = False  # a channel mixer beside LoRA

    @property
    def name(self) -> str:
        """Of the result file, behind the recipe's."""
        adapters = ("-lora" if self.trained else "") + ("+mixer" if self.mixed else "")
        return f"{self.backbone}-{self.route}{adapters}"

    def changes(self) -> dict[str, Any]:
        """Of the recipe."""
        # One expected path is decoded instead of twenty drawn ones.
        drawn = {"prediction": "expected"} if self.backbone == "chronos_t5" else {}
        changes: dict[str, Any] = {
            "backbone": {"name": self.backbone} | drawn,
            "adapters": [LORA] * self.trained + [MIXER] * self.mixed,
            "task.route": "auto" if self.route == "head" else self.route,
        }
        if self.route == "head":
            changes["head"] = HEAD
        if not self.trained and self.route != "head":
            return changes
        # Every step asks for forecasts of several gaps: a third of the steps cost as much.
        return changes | BUDGET | ({"train.steps": 100} if self.route == "two_sided" else {})


WAYS = (
    Way("moment", "native", False),
    Way("moirai", "native", False),
    *(Way(backbone, "two_sided", False) for backbone in BACKBONES),
    *(Way(backbone, "head", False) for backbone in ("chronos_bolt", "timesfm", "moment")),
    Way("moment", "native", True),
    Way("chronos_bolt", "head", True),
    Way("chronos_bolt", "two_sided", True),
    Way("chronos_bolt", "two_sided", True, mixed=True),
)


def cells() -> dict[str, Condition]:
    """By name; of each recipe the baselines first."""
    found = {}
    for recipe in RECIPES:
        found[f"{recipe}-baselines"] = Condition(f"{recipe}-baselines", recipe, {"adapters": []})
        for way in WAYS:
            if recipe == RECIPES[0] or way.backbone not in ONLY_MINUTE:
                name = f"{recipe}-{way.name}"
                found[name] = Condition(name, recipe, way.changes())
    return found


@cache
def line(recipe: str) -> Any:
    """The errors of the straight line."""
    cell = cells()[f"{recipe}-baselines"]
    return BENCH.errors_of_baseline(cell.load(), "linear")


def report() -> None:
    """Writes table.md and gaps.png from the finished cells."""
    rows = []
    for name, cell in cells().items():
        scores = read(RESULTS, name)
        if scores is None:
            continue
        scale = np.array(scores["mase_scale"])
        for model, own in scores["models"].items():
            against = "-"
            if model == "model":
                gain = compare_forecasts(
                    BENCH.errors(scores), line(cell.recipe), scale, block=scores["overlap"]
                )
                against = interval(asdict(gain))
            gaps = [g[model]["overall"] for g in scores["gaps"].values()]
            rows.append(
                (
                    cell.recipe.removesuffix("_imputation"),
                    name.removeprefix(f"{cell.recipe}-") if model == "model" else model,
                    " / ".join(f"{gap['mase']:.3f}" for gap in gaps),
                    f"{own['overall']['mae_standardised']:.3f}",
                    against,
                    f"{scores['trainable_parameters']:,}" if model == "model" else "-",
                )
            )
    header = (
        "recordings",
        "model",
        "MASE by gap",
        "standardised MAE",
        "against the line",
        "trained",
    )
    (HERE / "table.md").write_text(table(header, rows) + "\n")
    _draw(rows)


def _draw(rows: list[tuple[str, ...]]) -> None:
    """MASE by the length of the gap on the minute recordings."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(9.5, 4.8), layout="constrained")
    minute = [row for row in rows if row[0] == "icu_minute"]
    dashes = iter(("--", "-.", ":", (0, (1, 4))))  # of the simple ways
    routes = {"two": "-", "native": "--", "head": ":"}
    for _, model, values, _, against, _ in minute:
        backbone, _, route = model.partition("-")
        if against == "-":
            style = {"color": "0.3", "linestyle": next(dashes)}
        else:
            style = {
                "color": f"C{BACKBONES.index(backbone)}",
                "linestyle": routes[route.partition("_")[0].partition("-")[0]],
                "marker": "^" if route.endswith("lora") else "o",
            }
        axis.plot([1, 5, 15, 30], [float(v) for v in values.split(" / ")], label=model, **style)
    axis.set(xlabel="gap, min", ylabel="MASE (lower is better)", title="one ICU patient")
    axis.set_xscale("log")
    axis.set_xticks([1, 5, 15, 30], ["1", "5", "15", "30"])
    axis.minorticks_off()
    figure.legend(fontsize="small", loc="outside right upper")
    figure.savefig(HERE / "gaps.png", dpi=110)


if __name__ == "__main__":
    if sys.argv[1:] == ["score"]:
        sys.exit(len(finish(list(cells().values()), RESULTS, BENCH.of_cell)))
    elif sys.argv[1:] == ["report"]:
        report()
    else:
        sys.exit(__doc__)
