"""How filled gaps are scored, summarised and compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from tsfm_adapt.evaluation.base import Predicted, Predictor, Scale, counted
from tsfm_adapt.evaluation.forecast_errors import (
    ForecastErrors,
    MaskedErrors,
    concatenate,
    forecast_errors,
    summarise_filling,
)
from tsfm_adapt.evaluation.forecast_scoring import QuantileScoring
from tsfm_adapt.evaluation.scores import MaskScheme, Models, Summary
from tsfm_adapt.signals.missingness import Missingness
from tsfm_adapt.signals.windows import Windows


@dataclass(frozen=True)
class GapScoring(QuantileScoring):
    """Scores at hidden values, over all masks and by pattern and length.

    A (window, channel) pair counts where at least `min_context` of its values stay visible.
    """

    min_context: int
    masks: Mapping[str, Missingness]  # by name, seed 0; mask k is of kind k // seeds
    seeds: int
    route: str  # by which models without a head fill gaps

    def steps(self, windows: Windows) -> int:
        """Every sample of the window."""
        return windows.spec.context

    def rated(
        self,
        batches: Iterable[Predicted],
        predictor: Predictor,
        windows: Windows,  # noqa: ARG002
    ) -> ForecastErrors:
        """Sufficient statistics of the errors at hidden values, batch by batch."""
        pieces, masks = [], []
        for batch in batches:
            arrays = batch.arrays
            assert arrays.target is not None
            assert arrays.target_observed is not None
            assert arrays.mask is not None
            pieces.append(
                forecast_errors(
                    quantiles=batch.values,
                    levels=predictor.levels,
                    target=arrays.target,
                    observed=arrays.target_observed,
                    counted=counted(arrays, self.min_context),
                    subjects=arrays.subjects,
                )
            )
            masks.append(arrays.mask)
        every = vars(concatenate(pieces))
        return MaskedErrors(**every, mask=np.concatenate(masks), headed=predictor.by_head)

    def summary(
        self,
        errors: Mapping[str, ForecastErrors],
        scale: Scale,
    ) -> Summary:
        """`models` over all masks, `gaps` by pattern and length, and the masks themselves."""

        def over(kind: int | None) -> Models:
            scores = {}
            for name, e in errors.items():
                assert isinstance(e, MaskedErrors)
                some = e if kind is None else e.where(e.mask // self.seeds == kind)
                scores[name] = summarise_filling(
                    some, scale.channels, scale.units, scale.mase, scale.deviation
                )
            return scores

        by_head = any(isinstance(e, MaskedErrors) and e.headed for e in errors.values())
        return Summary(
            models=over(None),
            gaps={name: over(number) for number, name in enumerate(self.masks)},
            missingness=MaskScheme(
                masks={n: asdict(kind) | {"seed": None} for n, kind in self.masks.items()},
                seeds=self.seeds,
                route="head" if by_head else self.route,
            ),
        )
