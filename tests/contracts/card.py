"""A bundle's card: two channels, forecast by Chronos-2."""

from tsfm_adapt.runs.bundle import Card

CARD = Card(
    channels=("HR", "SpO2"),
    units=("bpm", "%"),
    rate_hz=1 / 60,
    context=240,
    horizon=30,
    quantiles=(0.1, 0.5, 0.9),
    backbone="chronos2",
    checkpoint="amazon/chronos-2",
    revision=None,
    base_sha256="0123abcd",
    licence="apache-2.0",
    synthetic=False,
    versions={},
)
