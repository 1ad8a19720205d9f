"""Writes a forecasting model as an ONNX graph of fixed shapes, and runs it."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tsfm_adapt.backbones.base import exportable_as_graph
from tsfm_adapt.batches import context_batch
from tsfm_adapt.errors import EnvironmentProblem, RecipeError
from tsfm_adapt.model import AdaptedModel

if TYPE_CHECKING:
    from tsfm_adapt.runs.bundle import Card

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_NAMES = ("values", "quantiles")  # of the graph's input and output


def check_installed() -> None:
    """Stops where the exporter or the runtime is missing.

    Raises:
        EnvironmentProblem: with the command that installs them.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise EnvironmentProblem(
            f"onnx needs {', '.join(missing)}: pip install 'tsfm-adapt[export]'", argument="to"
        )


def write(model: AdaptedModel, card: Card, file: Path) -> bool:
    """Writes the graph of a model's forecast of one horizon.

    Its input `values` is (B, C, T) float32 in the data's units, NaN where nothing was measured;
    its output `quantiles` is (B, C, H, Q). Channels, units, rate and levels are in its metadata.

    Args:
        model: whose adapters are merged, or can be traced.
        card: the geometry.
        file: to write.

    Returns:
        Whether any number of windows B goes through it; else one at a time.

    Raises:
        RecipeError: the model cannot be such a graph.
    """
    backbone = model.backbone
    if backbone.no_graph:
        raise RecipeError(
            f"onnx: {backbone.spec.name} cannot be a graph of fixed shapes: "
            f"{backbone.no_graph}. Export the merged weights or the bundle, or adapt one of "
            f"{', '.join(exportable_as_graph())}.",
            argument="to",
            remedy="to=merged",
        )
    backbone.for_graph()
    forecaster = _Forecaster(model.requires_grad_(False), card).eval()
    reasons = []
    for windows in (3, 1):  # any number where tracing leaves it open
        try:
            with _silence():
                program = _traced(forecaster, card, windows)
        except Exception as error:  # of many kinds: whatever tracing or translating stumbles on
            reasons.append(_reason(error))
            continue
        for key, value in _metadata(card).items():
            program.model.metadata_props[key] = value
        program.save(file)
        return windows > 1
    names = ", ".join(adapter.name for adapter in model.adapters)
    raise RecipeError(
        f"onnx: {backbone.spec.name} with adapters [{names}] over {card.context} + "
        f"{card.horizon} samples cannot be traced: {reasons[-1]}. Export the bundle.",
        argument="to",
        remedy="to=bundle",
    )


@dataclass(frozen=True)
class Graph:
    """A written graph, ready to run on the CPU."""

    session: Any  # of onnxruntime, untyped
    dynamic: bool

    @classmethod
    def open(cls, file: Path, dynamic: bool) -> Graph:
        """Loads the file.

        Args:
            file: as `write` wrote it.
            dynamic: what `write` returned.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            session = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime has its own kinds, none of them public
            raise RecipeError(
                f"onnx: onnxruntime refuses the graph: {_reason(error)}. Export the bundle.",
                argument="to",
                remedy="to=bundle",
            ) from error
        return cls(session, dynamic)

    def __call__(self, values: Tensor) -> Tensor:
        """Quantiles (B, C, H, Q) of values (B, C, T) with NaN."""
        pieces = [values] if self.dynamic else list(values.split(1))
        input_name, output_name = _NAMES
        outputs = [
            self.session.run([output_name], {input_name: piece.numpy()})[0] for piece in pieces
        ]
        return torch.cat([torch.from_numpy(output) for output in outputs])


class _Forecaster(nn.Module):
    """A model as a function of tensors."""

    def __init__(self, model: AdaptedModel, card: Card) -> None:
        super().__init__()
        self._model = model
        self._card = card

    def forward(self, values: Tensor) -> Tensor:
        card = self._card
        batch = context_batch(values, card.rate_hz, card.channels)
        forecast = self._model.forecast(batch, card.horizon)
        return forecast.quantiles(card.quantiles).movedim(2, 3).float()


def _traced(forecaster: nn.Module, card: Card, windows: int) -> Any:
    """The ONNX program, untyped in torch."""
    example = torch.randn(windows, len(card.channels), card.context)
    example[0, 0, : card.context // 4] = torch.nan
    open_sizes = {"values": {0: torch.export.Dim("windows")}} if windows > 1 else None
    operations = torch.ops.aten
    with torch.no_grad():
        exported = torch.export.export(
            forecaster, (example,), dynamic_shapes=open_sizes, strict=False
        ).run_decompositions(
            {operations.cummax.default: _running_max, operations.cummin.default: _running_min}
        )
        return torch.onnx.export(
            exported,
            dynamo=True,
            input_names=list(_NAMES[:1]),
            output_names=list(_NAMES[1:]),
            verbose=False,
        )


def _running_max(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """`cummax`, which ONNX lacks, in as many maxima as its length has binary digits.

    The indices of the maxima are not computed: no exported model reads them.
    """
    running = values.movedim(dim, -1)
    exact = running.dtype.is_floating_point
    lowest = -torch.inf if exact else torch.iinfo(running.dtype).min
    reach = 1
    while reach < running.shape[-1]:
        shifted = nn.functional.pad(running[..., :-reach], (reach, 0), value=lowest)
        running, reach = torch.maximum(running, shifted), 2 * reach
    maxima = running.movedim(-1, dim)
    return maxima, torch.zeros_like(maxima, dtype=torch.int64)


def _running_min(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """`cummin` by the same way."""
    maxima, indices = _running_max(-values, dim)
    return -maxima, indices


def _metadata(card: Card) -> dict[str, str]:
    return {
        "channels": json.dumps(card.channels),
        "units": json.dumps(card.units),
        "rate_hz": repr(card.rate_hz),
        "quantiles": json.dumps(card.quantiles),
        "licence": card.licence,
    }


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporter prints progress, graphs of thousands of lines, and warnings of its own."""
    disabled = logging.root.manager.disable
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)


def _reason(error: BaseException) -> str:
    """The innermost cause in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines: Sequence[str] = str(error).strip().splitlines()
    return (
        f"{type(error).__name__}: {lines[0].rstrip('.')[:200]}" if lines else type(error).__name__
    )
