"""`resume` of a run that is finished."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_resuming_a_finished_run_changes_no_weights(
    cli: Callable[..., Any], trained: Path
) -> None:
    saved = (trained / "bundle" / "adapter_model.safetensors").read_bytes()
    outcome = cli("resume", trained, "--quiet")
    assert outcome.code == 0, outcome.err
    assert (trained / "bundle" / "adapter_model.safetensors").read_bytes() == saved
