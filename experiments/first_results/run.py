"""LoRA and full fine-tuning of both Chronos backbones on the three protocols.

Run:   TSFM_ADAPT_DATA=... python experiments/first_results/run.py choose
       TSFM_ADAPT_DATA=... python experiments/first_results/run.py score
       python experiments/first_results/run.py table
Needs: the recordings of the three recipes. `choose` looks at the validation part only and writes
results/validation.json; `score` runs each winner once on the test set. Both skip what is done.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from grid import Bench, Condition, interval, mase, read, score, table, validate  # noqa: E402

RESULTS = HERE / "results"
RECIPES = ("glucose_forecast", "icu_minute_forecast", "icu_hourly_forecast")
BACKBONES = ("chronos2", "chronos_bolt")
ATTENTION = ["attn.q", "attn.k", "attn.v", "attn.out"]
EVERYWHERE = [*ATTENTION, "mlp.in", "mlp.out"]


def candidates(recipe: str, backbone: str) -> Iterator[tuple[str, Condition]]:
    """(method, cell) of everything that is tried on the validation part; most on glucose."""
    thorough = recipe == "glucose_forecast"
    for rate in (1e-3, 3e-3, 1e-2) if thorough else (1e-3, 3e-3):
        for where, sites in (("attention", ATTENTION), ("everywhere", EVERYWHERE)):
            if thorough or where == "everywhere":
                adapter = {"name": "lora", "rank": 8, "alpha": 16, "sites": sites}
                yield "lora", _cell(recipe, backbone, f"lora-{where}-{rate:g}", adapter, rate)
    if thorough:
        adapter = {"name": "lora", "rank": 32, "alpha": 32, "sites": EVERYWHERE}
        yield "lora", _cell(recipe, backbone, "lora-rank32-long", adapter, 3e-3, steps=600)
    for rate in (1e-4, 3e-4, 1e-3) if thorough else (3e-4, 1e-3):
        yield "full", _cell(recipe, backbone, f"full-{rate:g}", {"name": "full"}, rate)


def _cell(
    recipe: str,
    backbone: str,
    label: str,
    adapter: dict[str, Any],
    rate: float,
    steps: int = 300,
) -> Condition:
    changes = {
        "backbone.name": backbone,
        "adapters": [adapter],
        "train.lr": rate,
        "train.steps": steps,
    }
    return Condition(f"{recipe}-{backbone}-{label}", recipe, changes)


def choose() -> dict[str, Any]:
    """Validation losses of all candidates."""
    cells = [cell for r in RECIPES for b in BACKBONES for _, cell in candidates(r, b)]
    bench = Bench(Path("runs/first_results/validation"))
    return validate(cells, RESULTS / "validation.json", bench)


def winners() -> Iterator[Condition]:
    """The candidate of each method with the lowest validation loss."""
    losses = json.loads((RESULTS / "validation.json").read_text())
    for recipe in RECIPES:
        for backbone in BACKBONES:
            tried = list(candidates(recipe, backbone))
            for method in ("lora", "full"):
                cells = [cell for kind, cell in tried if kind == method]
                best = min(cells, key=lambda cell: losses[cell.name]["loss"])
                yield Condition(f"{recipe}-{backbone}-{method}", recipe, best.changes)


def results_table() -> str:
    """Markdown, a line a finished cell."""
    rows = []
    for recipe in RECIPES:
        for backbone in BACKBONES:
            for method in ("lora", "full"):
                scores = read(RESULTS, f"{recipe}-{backbone}-{method}")
                if scores is None:
                    continue
                short, whole = scores["horizons"].values()
                verdict = scores["verdict"]
                name = verdict["vs_best_baseline"]["name"]
                rows.append(
                    (
                        recipe.removesuffix("_forecast"),
                        backbone,
                        method,
                        f"{mase(short, 'adapted')} / {mase(whole, 'adapted')}",
                        f"{mase(short, 'zero_shot')} / {mase(whole, 'zero_shot')}",
                        f"{name} {mase(short, name)} / {mase(whole, name)}",
                        interval(verdict["vs_zero_shot"]),
                        interval(verdict["vs_best_baseline"]),
                        f"{scores['trainable_parameters']:,}",
                    )
                )
    header = (
        *("protocol", "backbone", "method", "adapted", "zero-shot", "best baseline"),
        *("against zero-shot", "against the baseline", "trained parameters"),
    )
    return table(header, rows)


if __name__ == "__main__":
    if sys.argv[1:] == ["choose"]:
        choose()
    elif sys.argv[1:] == ["score"]:
        sys.exit(len(score(winners(), RESULTS, Path("runs/first_results"))))
    elif sys.argv[1:] == ["table"]:
        print(results_table())
    else:
        sys.exit(__doc__)
