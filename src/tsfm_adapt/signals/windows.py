"""Windows over recordings: index arithmetic now, values when a batch is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from tsfm_adapt.signals.recording import BoolArray, FloatArray


@dataclass(frozen=True)
class WindowSpec:
    """Geometry in samples; a window's context and target lie wholly inside one recording."""

    context: int  # T
    horizon: int  # H; 0 = no target
    stride: int = 1
    min_context: int = 1  # measured context values a (window, channel) pair needs to be scored


@dataclass(frozen=True)
class WindowArrays:
    """B windows as arrays: what `batches.collate` turns into a `Batch`."""

    values: FloatArray  # (B, C, T) float32, 0 where not observed
    observed: BoolArray  # (B, C, T)
    target: FloatArray | None  # (B, C, H) float32, 0 where not observed
    target_observed: BoolArray | None  # (B, C, H)
    start_s: FloatArray  # (B,) float64 seconds since the epoch of the first context sample
    rate_hz: float
    channels: tuple[str, ...]
    subjects: tuple[str, ...]
