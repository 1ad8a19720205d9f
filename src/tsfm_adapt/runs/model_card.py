"""The model card of an adapted model: use, data, scores, calibration, limits, licence.

After Mitchell et al., "Model Cards for Model Reporting", arXiv 1810.03993.
"""

from __future__ import annotations

from collections.abc import Sequence

from tsfm_adapt.backbones.base import TINY
from tsfm_adapt.evaluation.metric import METRICS
from tsfm_adapt.evaluation.scores import CalibrationScores, Role, Scores
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.runs.bundle import Card

# The columns of the table of scores, beside the metric that ranks.
_SHOWN = tuple(METRICS[n] for n in ("mase", "wql", "auroc", "auprc", "balanced_accuracy"))

_INTERVALS = {
    "subjects": "95 % bootstrap over the subjects of the test set",
    "few subjects": "95 % t interval over the few subjects of the test set",
    "within one patient": "95 % block bootstrap in time, within one patient",
}


def model_card(
    card: Card,
    recipe: Recipe,
    scores: Scores,
    loading: str,
    notes: Sequence[str] = (),
) -> str:
    """Writes README.md of a bundle or an export, as Markdown.

    Args:
        card: channels, geometry, base weights and licence of the model.
        recipe: the recipe that it was trained by.
        scores: of the run.
        loading: Python that loads the model.
        notes: warnings above everything else.
    """
    sections = (
        _head(card, recipe, notes),
        _use(card, recipe, scores, loading),
        _data(card, recipe, scores),
        _results(scores),
        f"## Calibration\n\n{_calibration(scores)}",
        f"## Limits\n\n{_limits(card, scores)}",
        f"## Licence\n\n{_licence(card)}",
    )
    return "\n\n".join(section.strip() for section in sections) + "\n"


def _head(card: Card, recipe: Recipe, notes: Sequence[str]) -> str:
    """The front matter, the title, what the model is, and the warnings."""
    warnings = "".join(f"> **{note}**\n\n" for note in notes)
    return f"""---
library_name: tsfm-adapt
base_model: {card.checkpoint}
license: {card.licence}
---
# {recipe.name}

{card.backbone} (weights `{card.checkpoint}`) adapted to {recipe.task.name} on {_source(card)}.

**Research software. Not a medical device: not for diagnosis, treatment or monitoring.**

{warnings}"""


def _use(card: Card, recipe: Recipe, scores: Scores, loading: str) -> str:
    """How to load the model, and what it takes."""
    return f"""## Use

```python
{loading}
```

- Channels, in this order: {_channels(card, recipe)}
- {_rate(card)}; context {card.context} samples, {_reach(card)}
- Missing values stay missing: NaN, never 0 and never filled in beforehand
- Adapters: {_components(recipe)}; {_trained(scores)}
- Base weights: sha256 `{card.base_sha256}`
"""


def _data(card: Card, recipe: Recipe, scores: Scores) -> str:
    """Where the recordings are from, and how many each split has."""
    return f"""## Data

Reader `{recipe.data.reader.name}`, split by {recipe.data.split.by}. {_origin(card)}

| split | subjects | recordings | windows |
|---|---|---|---|
{_split_table(scores)}{_audit(scores)}"""


def _audit(scores: Scores) -> str:
    """What the splits share, and what nobody checked."""
    return "".join(f"\n- {line}" for line in scores.audit.lines)


def _results(scores: Scores) -> str:
    """The models beside each other, and the verdict."""
    return f"""## Scores

On the test set; no model was fitted or chosen on it.

{_scores_table(scores)}
{" ".join(f"{sentence}." for sentence in scores.sentences)}{_interval(scores)}
"""


def _source(card: Card) -> str:
    return "SYNTHETIC (simulated) recordings" if card.synthetic else "the recipe's recordings"


def _channels(card: Card, recipe: Recipe) -> str:
    assumed = recipe.data.assumed_units
    return ", ".join(
        f"{name} ({unit}{', ASSUMED: the files state no unit' if name in assumed else ''})"
        for name, unit in zip(card.channels, card.units, strict=True)
    )


def _rate(card: Card) -> str:
    if card.rate_hz < 1:
        return f"One sample every {1 / card.rate_hz:g} s"
    return f"{card.rate_hz:g} samples a second"


def _reach(card: Card) -> str:
    if not card.horizon:
        return "no horizon"
    levels = ", ".join(f"{level:g}" for level in card.quantiles)
    return f"horizon {card.horizon} samples, quantiles {levels}"


def _components(recipe: Recipe) -> str:
    adapters = ", ".join(adapter.name for adapter in recipe.adapters) or "none"
    return adapters if recipe.head is None else f"{adapters}; head {recipe.head.name}"


def _trained(scores: Scores) -> str:
    trainable, total = scores.costs.trainable_parameters, scores.costs.total_parameters
    if trainable is None or not total:
        return "trained parameters unknown"
    return f"trained parameters {trainable:,} of {total:,}"


def _origin(card: Card) -> str:
    if card.synthetic:
        return "SYNTHETIC: simulated signals, no patient is behind them."
    return "See `recipe.yaml` of the run for cleaning and units."


def _split_table(scores: Scores) -> str:
    protocol = scores.protocol
    columns = (
        protocol.subjects_by_split,
        protocol.recordings_by_split,
        protocol.windows_by_split,
    )
    return "".join(
        f"| {split} | {' | '.join(str(column.get(split, 'unknown')) for column in columns)} |\n"
        for split in ("train", "val", "test")
    )


def _scores_table(scores: Scores) -> str:
    first = next(iter(scores.models.values())).overall
    ranked = scores.ranked_by
    metrics = [ranked, *(m for m in _SHOWN if m.name in first and m.name != ranked.name)]
    rows = "".join(
        f"| {model} | {' | '.join(_number(own.overall.get(m.name)) for m in metrics)} |\n"
        for model, own in scores.models.items()
    )
    titles = " | ".join(metric.label for metric in metrics)
    head = f"| model ({scores.better} is better) | {titles} |"
    return f"{head}\n|---{'|---' * len(metrics)}|\n{rows}"


def _interval(scores: Scores) -> str:
    verdict = scores.verdict
    return "" if verdict is None else f" Intervals: {_INTERVALS[verdict.interval]}."


def _calibration(scores: Scores) -> str:
    lines = []
    for name, own in scores.models.items():
        if own.role not in (Role.ADAPTED, Role.ZERO_SHOT):
            continue
        if (coverage := own.overall.get("coverage80")) is not None:
            lines.append(
                f"- {name}: {coverage:.0%} of the measured values lie in the 80 % prediction "
                "interval"
            )
        if (error := own.overall.get("ece")) is not None:
            lines.append(f"- {name}: expected calibration error {error:.3f}")
    lines += _conformal(scores.calibration)
    return "\n".join(lines) or "Not measured: the model predicts single values, without intervals."


def _conformal(calibration: CalibrationScores | None) -> list[str]:
    """The coverage of the calibrated prediction intervals, or why there are none."""
    if calibration is None:
        return []
    if calibration.reason is not None:
        return [f"- Prediction intervals are the model's own: {calibration.reason}"]
    if (coverage := calibration.overall.get("coverage80")) is None:
        return []
    return [
        f"- adapted, calibrated: {coverage:.0%}. `predict` gives these intervals, conformalised "
        f"on {calibration.windows} windows of {calibration.subjects} validation subjects; "
        "the coverage is nominal on average over subjects like them, not for each patient. "
        "`predict` with `raw` gives the model's own intervals"
    ]


def _limits(card: Card, scores: Scores) -> str:
    subjects = scores.subjects
    limits = [
        "Tested on one data set. Expect worse scores on other populations, wards, devices "
        "and sampling rates.",
        "The model expects each channel in the unit above; values are not checked against it.",
    ]
    if card.synthetic:
        limits.insert(0, "Trained and tested on simulated signals: says nothing about patients.")
    if card.checkpoint == TINY:
        limits.insert(0, "The base weights are random, for tests only: the scores mean nothing.")
    if subjects < 8:  # below it the interval is no bootstrap
        limits.append(f"Tested on {subjects} subject{'s' * (subjects != 1)} only.")
    if scores.smoke:
        limits.append("A smoke run: a few steps on a few windows; the scores mean nothing.")
    if scores.verdict is None:
        limits.append("No comparison has shown it to be better than another model.")
    return "".join(f"- {limit}\n" for limit in limits)


def _licence(card: Card) -> str:
    if card.licence == "unknown":
        return (
            f"Unknown: the weights `{card.checkpoint}` come without a licence that could be read. "
            "Find it out before use: the licence of base weights binds adapted weights too."
        )
    text = f"`{card.licence}`, that of the base weights `{card.checkpoint}`"
    return f"{text}: NOT for commercial use." if card.non_commercial else f"{text}."


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
