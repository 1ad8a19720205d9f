"""`resume`: continues an interrupted run."""

from __future__ import annotations

from tsfm_adapt.cli.options import Json, Quiet, RunFolder


def command(run: RunFolder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Resume an interrupted run; the result is the same as without the interruption."""
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.cli.outcome import show
    from tsfm_adapt.runs.lifecycle import first_process, resume
    from tsfm_adapt.runs.run import Run

    progress = Progress(quiet=quiet or not first_process())
    finished = resume(Run(run), progress)
    if first_process():
        show(finished, as_json)
