"""Masks that hide observed values, beside the real gaps, to train and score imputation.

A mask is a pure function of its seed and of the window (recording id and first sample). It does
not depend on the batch, the model or the order of windows. The patterns are those of PyGrinder (Du
et al., arXiv 2406.12747) and of MOMENT (patches).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tsfm_adapt.signals.recording import BoolArray, IntArray, Recording
from tsfm_adapt.signals.windows import WindowArrays, Windows, WindowSpec

Pattern = Literal["point", "block", "subsequence", "channel", "patch"]


@dataclass(frozen=True)
class Missingness:
    """A mask: pattern, share and length of what it hides.

    - `point`: single values, anywhere.
    - `block`: stretches of `length` samples, all channels at once.
    - `subsequence`: stretches of `length` samples, every channel its own.
    - `channel`: whole channels; at least one stays.
    - `patch`: whole patches of `length` samples, counted from the window's end, every channel its
      own.

    Between stretches, and at the window's ends, at least one sample stays visible: each gap has
    exactly `length` samples and two sides.
    """

    pattern: Pattern
    rate: float  # hidden share, in (0, 1); rounded to whole stretches, at least one
    length: int = 1  # samples; used by block, subsequence and patch
    seed: int = 0

    def pieces(self, context: int) -> int:
        """Number of hidden stretches or patches in `context` samples of each channel."""
        if self.pattern == "patch":
            return max(1, round(self.rate * (context // self.length)))
        return max(1, round(self.rate * context / self.length))

    def fits(self, context: int) -> bool:
        """True if the stretches fit into `context` samples and leave some visible."""
        pieces = self.pieces(context)
        if self.pattern == "patch":
            return pieces < context / self.length
        if self.pattern in ("block", "subsequence"):
            return pieces * (self.length + 1) < context
        return True

    def hidden(self, observed: BoolArray, window: str) -> BoolArray:
        """The hidden values of one window (C, T): a subset of the observed ones.

        Args:
            observed: (C, T).
            window: key of the window; equal keys give equal masks.
        """
        assert self.fits(observed.shape[1]), (self, observed.shape)
        digest = hashlib.sha256(window.encode()).digest()[:16]
        rng = np.random.default_rng([self.seed, *np.frombuffer(digest, dtype="<u4").tolist()])
        return self._drawn(observed, rng) & observed

    def _drawn(self, observed: BoolArray, rng: np.random.Generator) -> BoolArray:
        """The pattern (C, T), unobserved values perhaps included."""
        channels, samples = observed.shape
        hidden = np.zeros(observed.shape, dtype=bool)
        if self.pattern == "point":
            measured = np.flatnonzero(observed)
            count = round(self.rate * len(measured))
            hidden.ravel()[rng.choice(measured, count, replace=False)] = True
        elif self.pattern == "channel":
            measured = np.flatnonzero(observed.any(axis=1))
            count = min(max(1, round(self.rate * len(measured))), max(0, len(measured) - 1))
            hidden[rng.choice(measured, count, replace=False)] = True
        elif self.pattern == "block":
            hidden[:] = self._stretches(samples, rng)
        elif self.pattern == "subsequence":
            for channel in range(channels):
                hidden[channel] = self._stretches(samples, rng)
        else:
            for channel in range(channels):
                hidden[channel] = self._patches(samples, rng)
        return hidden

    def _stretches(self, samples: int, rng: np.random.Generator) -> BoolArray:
        """Stretches (T,) at uniformly random places, a sample or more apart and off the ends."""
        pieces = self.pieces(samples)
        slack = samples - 1 - pieces * (self.length + 1)
        picked = np.sort(rng.choice(slack + pieces, pieces, replace=False))
        first = 1 + picked + np.arange(pieces) * self.length
        hidden = np.zeros(samples, dtype=bool)
        hidden[(first[:, None] + np.arange(self.length)).ravel()] = True
        return hidden

    def _patches(self, samples: int, rng: np.random.Generator) -> BoolArray:
        """Patches (T,) drawn without replacement, counted from the end."""
        patches = samples // self.length
        picked = rng.choice(patches, self.pieces(samples), replace=False)
        hidden = np.zeros(samples, dtype=bool)
        last = samples - picked * self.length  # past the end of each patch
        hidden[(last[:, None] - 1 - np.arange(self.length)).ravel()] = True
        return hidden


class HiddenWindows(Windows):
    """Each window M times, once under each mask, before the next window.

    `gather` returns the visible rest as `values` and `observed`, the whole window (B, C, T) as
    `target`, and the hidden observed values as `target_observed`.

    Args:
        recordings: with the same channels and rate.
        spec: the geometry in samples; without a horizon.
        masks: M masks that fit the context.
    """

    def __init__(
        self, recordings: Sequence[Recording], spec: WindowSpec, masks: Sequence[Missingness]
    ) -> None:
        assert spec.horizon == 0, spec
        assert masks
        super().__init__(recordings, spec)
        self.masks = tuple(masks)

    def __len__(self) -> int:
        whole = super().__len__()
        return whole if self._picked is not None else whole * len(self.masks)

    @property
    def overlap(self) -> int:
        """Most consecutive windows that share samples."""
        return super().overlap * len(self.masks)

    @property
    def mask(self) -> IntArray:
        """Each window's index into `masks`, (N,)."""
        return self._positions(np.arange(len(self))) % len(self.masks)

    def evenly_spaced(self, n: int) -> Windows:
        """At most `n` windows, evenly spaced; each with all its masks where `n` allows it."""
        masks = len(self.masks)
        if len(self) <= n or n < masks or len(self) % masks:
            return super().evenly_spaced(n)
        windows, kept = len(self) // masks, n // masks
        first = np.arange(kept) * windows // kept * masks
        return self.take((first[:, None] + np.arange(masks)).ravel())

    def _gathered(self, indices: Sequence[int] | IntArray) -> WindowArrays:
        """Values of B windows without the hidden ones, which are the target."""
        whole = super()._gathered(indices)
        recording, start = self._locate(indices)
        mask = self._positions(indices) % len(self.masks)
        hidden = np.stack(
            [
                self.masks[m].hidden(observed, f"{self.recordings[r].id}\t{s}")
                for m, observed, r, s in zip(mask, whole.observed, recording, start, strict=True)
            ]
        )
        visible = whole.observed & ~hidden
        return replace(
            whole,
            values=np.where(visible, whole.values, np.float32(0)),
            observed=visible,
            target=whole.values,
            target_observed=hidden,
            mask=mask,
        )

    def origins_sha256(self) -> str:
        """Sha256 over a line `recording id, start, mask` for each window, tabs between."""
        digest = hashlib.sha256()
        for recording, start, mask in zip(self.recording, self.start, self.mask, strict=True):
            line = f"{self.recordings[recording].id}\t{start}\t{self.masks[mask]}\n"
            digest.update(line.encode())
        return digest.hexdigest()

    def _locate(self, indices: Sequence[int] | IntArray) -> tuple[IntArray, IntArray]:
        return self._at(self._positions(indices) // len(self.masks))
