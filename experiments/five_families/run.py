"""All nine backbones zero-shot and with LoRA, on glucose and on the hourly ICU protocol.

Run:   TSFM_ADAPT_DATA=... python experiments/five_families/run.py score
       python experiments/five_families/run.py report      (table.md and comparison.png)
Needs: the recordings of the two recipes and the extra `moirai`. One seed, 200 steps, one LoRA for
all, chosen for none of them; finished cells are not run again.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from grid import Condition, interval, mase, read, score, table  # noqa: E402

RESULTS = HERE / "results"
RECIPES = ("glucose_forecast", "icu_hourly_forecast")
BACKBONES = (
    *("chronos2", "chronos_bolt", "chronos_t5", "moment", "moirai", "moirai2"),
    *("timesfm", "timesfm3", "lag_llama"),
)
ONLY_GLUCOSE = ("chronos_t5",)  # a token a sample, decoded one by one
LORA = {
    "name": "lora",
    "rank": 8,
    "alpha": 16,
    "sites": ["attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out"],
}


def cells() -> list[Condition]:
    """One cell a backbone and protocol; the zero-shot model is scored beside each."""
    return [
        Condition(
            f"{recipe}-{backbone}",
            recipe,
            {
                "backbone": {"name": backbone},
                "adapters": [LORA],
                "train.steps": 200,
                "train.batch_size": 32,
                "train.lr": 1e-3,
            },
        )
        for recipe in RECIPES
        for backbone in BACKBONES
        if recipe == "glucose_forecast" or backbone not in ONLY_GLUCOSE
    ]


def report() -> None:
    """Writes table.md and comparison.png from the finished cells."""
    found = [(cell, scores) for cell in cells() if (scores := read(RESULTS, cell.name))]
    rows = []
    for cell, scores in found:
        short, whole = scores["horizons"].values()
        rows.append(
            (
                cell.recipe.removesuffix("_forecast"),
                cell.changes["backbone"]["name"],
                f"{mase(short, 'zero_shot')} / {mase(whole, 'zero_shot')}",
                f"{mase(short, 'adapted')} / {mase(whole, 'adapted')}",
                interval(scores["verdict"]["vs_zero_shot"]),
                f"{scores['trainable_parameters']:,} of {scores['total_parameters']:,}",
                f"{scores['seconds_per_step']:.2f}",
                f"{scores['peak_memory_mb']:.0f}",
            )
        )
    for recipe in RECIPES:
        scores = next((s for cell, s in found if cell.recipe == recipe), None)
        for name in ("last_value", "mean_of_last_15", "ridge") if scores else ():
            short, whole = scores["horizons"].values()
            both = f"{mase(short, name)} / {mase(whole, name)}"
            rows.append((recipe.removesuffix("_forecast"), name, both, *["-"] * 5))
    header = (
        *("protocol", "model", "zero-shot", "LoRA", "LoRA against zero-shot"),
        *("trained parameters", "s a step", "peak MB"),
    )
    (HERE / "table.md").write_text(table(header, rows) + "\n")
    _draw(found)


def _draw(found: list[tuple[Condition, dict]]) -> None:
    """MASE over the whole horizon: zero-shot to LoRA, and the baselines as lines."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(RECIPES), figsize=(11, 4), layout="constrained")
    for axis, recipe in zip(axes, RECIPES, strict=True):
        mine = [
            (c.changes["backbone"]["name"], s["models"]) for c, s in found if c.recipe == recipe
        ]
        for place, (_, models) in enumerate(mine):
            before, after = (models[m]["overall"]["mase"] for m in ("zero_shot", "adapted"))
            axis.annotate(
                "", (after, place), (before, place), arrowprops={"arrowstyle": "->", "color": "C0"}
            )
            axis.plot(before, place, "o", color="0.5", label="zero-shot" if not place else None)
            axis.plot(after, place, "o", color="C0", label="LoRA" if not place else None)
        if mine:
            for color, name in (("C1", "last_value"), ("C3", "ridge")):
                value = mine[0][1][name]["overall"]["mase"]
                axis.axvline(value, color=color, linestyle="--", label=name.replace("_", " "))
        axis.set_yticks(range(len(mine)), [name for name, _ in mine])
        axis.set_title(recipe.removesuffix("_forecast").replace("_", " "))
        axis.set_xlabel("MASE over the whole horizon (lower is better)")
        axis.legend(fontsize="small")
    figure.savefig(HERE / "comparison.png", dpi=110)


if __name__ == "__main__":
    if sys.argv[1:] == ["score"]:
        sys.exit(len(score(cells(), RESULTS, Path("runs/five_families"))))
    elif sys.argv[1:] == ["report"]:
        report()
    else:
        sys.exit(__doc__)
