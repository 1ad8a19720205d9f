"""`resume`: goes on where a run stopped."""

from __future__ import annotations

from tsfm_adapt.cli.options import Json, Quiet, RunFolder


def command(run: RunFolder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Go on where a run was stopped, with the result of an uninterrupted run."""
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.cli.outcome import show
    from tsfm_adapt.runs import run as work

    progress = Progress(quiet=quiet or not work.first_process())
    show(work.resume(work.Run(run), progress), as_json)
