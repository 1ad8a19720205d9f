"""Affine: one scale and one shift a channel correct the forecast, for all or for each subject.

The cheapest personal correction: on heart rate from PPG it beat heavier ones (a re-run of
Pillai et al., "PaPaGei", arXiv 2410.20542).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tsfm_adapt.adapters._mixing import channels_of, device_of, moments, rescaled
from tsfm_adapt.adapters.base import Adapter, AdapterConfig, Setting
from tsfm_adapt.errors import DataError, RecipeError, closest

if TYPE_CHECKING:
    from tsfm_adapt.adapters._nets.affine import Correction
    from tsfm_adapt.backbones.base import Encoder
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast
    from tsfm_adapt.signals.windows import Windows

Per = Literal["all", "subject"]


class Config(AdapterConfig):
    """`adapters: [{name: affine}]`."""

    name: Literal["affine"] = "affine"
    per: Per = Field(
        default="all",
        description="'all' subjects share a correction, or each 'subject' has its own; the latter "
        "needs data.split.by: time",
    )

    def build(self) -> Affine:
        """A correction with the recipe's values."""
        return Affine(self)


class Affine(Adapter):
    """y becomes s y + t in each channel, y standardised by train's mean and standard deviation.

    s starts at 1 and stays positive, since its logarithm is trained; t starts at 0. With
    `per: subject` a subject that train did not have is refused: it has no correction.
    """

    name = "affine"
    corrects_forecast = True
    module: Correction

    def __init__(self, config: Config) -> None:
        self.config = config
        self.per_subject = config.per == "subject"
        self._rows: dict[str, int] = {}  # of each subject

    def attach(self, backbone: Encoder, setting: Setting) -> None:
        """Creates two numbers a channel, with `per: subject` for each subject.

        Raises:
            RecipeError: channels are not known; or subjects, which only a split by time has in
                every split.
        """
        from tsfm_adapt.adapters._nets.affine import Correction

        count = len(channels_of(setting.channels, self.name))
        if self.per_subject and not setting.subjects:
            raise RecipeError(
                "adapters.affine.per: subject needs the same subjects in train and test, which "
                "only data.split.by: time gives; this run has none in common. Split by time, or "
                "use per: all."
            )
        self._rows = {subject: row for row, subject in enumerate(setting.subjects)}
        rows = len(self._rows) if self.per_subject else 1
        self.module = Correction(rows, count, device_of(backbone))

    def fit(self, train: Windows) -> None:
        """Each channel's mean and standard deviation in train."""
        mean, deviation = moments(train)
        self.module.mean.copy_(mean)
        self.module.deviation.copy_(deviation)

    def restore(self, forecast: Forecast, batch: Batch) -> Forecast:
        """The corrected forecast.

        Raises:
            DataError: there is no correction for a subject.
        """
        module = self.module
        rows = [self._row(subject) for subject in batch.subjects]
        scale = module.log_scale[rows].exp()[..., None]  # (B, C, 1)
        shift = module.shift[rows][..., None] * module.deviation[:, None]
        mean = module.mean[:, None]
        return rescaled(forecast, mean * (1 - scale) + shift, scale)

    def _row(self, subject: str) -> int:
        if not self.per_subject:
            return 0
        if subject not in self._rows:
            raise DataError(
                f"adapters.affine.per: subject has corrections for {len(self._rows)} subjects of "
                f"train, not for '{subject}'.{closest(subject, self._rows)} Forecast those, or "
                "train with per: all."
            )
        return self._rows[subject]
