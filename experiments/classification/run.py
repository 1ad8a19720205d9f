"""Frozen probes, LoRA, label queries and channel mixers against simple classifiers.

Four questions, three families with all methods, seven with a probe.

Run:   TSFM_ADAPT_DATA=... python experiments/classification/run.py score
       python experiments/classification/run.py report      (table.md and scores.png)
Needs: the recordings of the recipes and the extra `moirai`. Settings were fixed beforehand; the
validation score beside each test score says which of them one would have picked. One seed;
finished cells are not run again.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tsfm_adapt.evaluation.class_scoring import compare_classes

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from grid import Bench, Condition, finish, read, table  # noqa: E402

RESULTS = HERE / "results"
BENCH = Bench(Path("runs/classification"))

# What heads read, by recipe: the pooling of the first two was chosen by cross-validation in train
# and val; ICU vitals want the levels that backbones scale away.
RECIPES: dict[str, dict[str, Any]] = {
    "handmovement": {"pooling": "last"},
    "ecg5000": {"pooling": "max"},
    "icu_mortality": {"statistics": True},
    "vitals_classification": {"statistics": True},
}
FAMILIES = ("chronos_bolt", "moment", "timesfm")  # with all methods
PROBED = (*FAMILIES, "chronos2", "moirai", "moirai2", "timesfm3")
LORA = {"name": "lora", "rank": 4, "alpha": 8, "sites": ["attn.q", "attn.v"]}
MIXER = {"name": "channel_mixer"}
BUDGET = {"train.steps": 150, "train.batch_size": 32, "train.validate_every": 15}


@dataclass(frozen=True)
class Method:
    """What is put on a backbone."""

    head: dict[str, Any]
    adapters: tuple[dict[str, Any], ...] = ()
    rate: float | None = None  # None = nothing trains by gradient
    pools: bool = True  # the head has a choice of what it reads


METHODS = {
    "probe": Method({"name": "probe"}),
    "lora": Method({"name": "linear", "start": "probe"}, (LORA,), 3e-4),
    "channel_mixer": Method({"name": "linear", "start": "probe"}, (MIXER,), 3e-4),
    "full": Method({"name": "linear", "start": "probe"}, ({"name": "full"},), 3e-4),
    "label_queries": Method({"name": "label_queries"}, (), 1e-3, pools=False),
}


def cells() -> dict[str, Condition]:
    """By name; of each recipe the baselines first, then probes."""
    found = {}
    for recipe, reads in RECIPES.items():
        found[f"{recipe}-baselines"] = Condition(f"{recipe}-baselines", recipe, {})
        for name, method in METHODS.items():
            for backbone in PROBED if name == "probe" else FAMILIES:
                if name == "channel_mixer" and recipe == "ecg5000":
                    continue  # one channel
                head = method.head | (reads if method.pools else {})
                changes: dict[str, Any] = {
                    "backbone": {"name": backbone},
                    "adapters": list(method.adapters),
                    "head": head,
                }
                if method.rate is not None:
                    changes |= BUDGET | {"train.lr": method.rate}
                cell = f"{recipe}-{backbone}-{name}"
                found[cell] = Condition(cell, recipe, changes)
    return found


@cache
def convolutions(recipe: str) -> Any:
    """The errors of the random convolutions."""
    return BENCH.errors_of_baseline(cells()[f"{recipe}-baselines"].load(), "random_convolutions")


def report() -> None:
    """Writes table.md and scores.png from the finished cells."""
    rows, drawn = [], []
    for name, cell in cells().items():
        scores = read(RESULTS, name)
        if scores is None:
            continue
        metric = scores["ranked_by"]["metric"]
        for model, own in scores["models"].items():
            overall, against, seen = own["overall"], "-", "-"
            if model == "model":
                mine = BENCH.errors(scores)
                gain = asdict(compare_classes(mine, convolutions(cell.recipe), metric, 1, 0))
                against = points(gain)
                seen = f"{scores['validation']['overall'][metric]:.3f}"
                drawn.append((cell.recipe, name.removeprefix(f"{cell.recipe}-"), overall[metric]))
            else:
                drawn.append((cell.recipe, model, overall[metric]))
            rows.append(
                (
                    cell.recipe,
                    name.removeprefix(f"{cell.recipe}-") if model == "model" else model,
                    f"{overall[metric]:.3f}",
                    seen,
                    against,
                    f"{overall['balanced_accuracy']:.3f}",
                    f"{scores['trainable_parameters']:,}" if model == "model" else "-",
                )
            )
    header = ("recipe", "model", "test", "validation", "against random convolutions, points")
    (HERE / "table.md").write_text(
        table((*header, "balanced accuracy", "trained by gradient"), rows) + "\n"
    )
    _draw(drawn)


def points(gain: dict[str, Any]) -> str:
    """A difference in points with its interval."""
    if gain["low"] is None:
        return f"{gain['difference']:+.1f}"
    shown = "" if gain["shown"] or gain["high"] < 0 else ", not shown"
    return f"{gain['difference']:+.1f} [{gain['low']:+.1f}, {gain['high']:+.1f}]{shown}"


def _draw(drawn: list[tuple[str, str, float]]) -> None:
    """Every model's score, a panel a recipe."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(RECIPES), figsize=(15, 5), layout="constrained")
    for axis, recipe in zip(axes, RECIPES, strict=True):
        own = sorted(((v, name) for r, name, v in drawn if r == recipe), reverse=False)
        simple = ("majority", "statistics_logistic", "random_convolutions")
        colours = ["0.6" if name in simple else "C0" for _, name in own]
        axis.barh([name for _, name in own], [v for v, _ in own], color=colours)
        axis.set_title(f"{recipe}\ngrey: no backbone")
    figure.savefig(HERE / "scores.png", dpi=100)


if __name__ == "__main__":
    if sys.argv[1:] == ["score"]:
        sys.exit(len(finish(list(cells().values()), RESULTS, BENCH.of_cell)))
    elif sys.argv[1:] == ["report"]:
        report()
    else:
        sys.exit(__doc__)
