"""`evaluate`: scores a run again."""

from __future__ import annotations

from tsfm_adapt.cli.options import Json, Quiet, RunFolder


def command(run: RunFolder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Score a run's best checkpoint on the test set again."""
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.cli.outcome import show
    from tsfm_adapt.runs.lifecycle import evaluate
    from tsfm_adapt.runs.run import Run

    opened = Run(run)
    evaluate(opened, Progress(quiet=quiet))
    show(opened, as_json)
