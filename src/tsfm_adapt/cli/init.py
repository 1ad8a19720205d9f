"""`init`: surveys recordings, and proposes a recipe for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import JsonValue

from tsfm_adapt.cli.options import Json, Quiet, print_json
from tsfm_adapt.cli.words import counted

if TYPE_CHECKING:
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.proposal.channel_lines import ChannelLine
    from tsfm_adapt.proposal.outcome import Trial
    from tsfm_adapt.proposal.proposal import Proposal
    from tsfm_adapt.proposal.survey import Channel, Survey


def command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Recordings: a file or folder.")],
    out: Annotated[Path, typer.Option(help="The recipe to write.")] = Path("recipe.yaml"),
    plot: Annotated[
        Path | None, typer.Option(help="The picture to write; default beside the recipe.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="A task's name; default: classify labelled trials, else forecast."),
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option(help="A reader's name, or its settings, YAML; default by what is there."),
    ] = None,
    clock_hz: Annotated[
        float | None,
        typer.Option(help="Where channels differ much in rate, propose those of about this one."),
    ] = None,
    no_trial: Annotated[
        bool,
        typer.Option("--no-trial", help="Compare no networks on validation (at most a minute)."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite recipe and picture.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at recordings, draw when they are measured, and write a recipe that runs."""
    from tsfm_adapt._util import atomic
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.proposal.formats import files_below, recognised
    from tsfm_adapt.proposal.picture import png
    from tsfm_adapt.proposal.proposal import propose
    from tsfm_adapt.proposal.recipe_text import text
    from tsfm_adapt.proposal.survey import look

    _check_task(task)
    picture = plot or out.parent / f"{out.stem or 'recipe'}.png"
    _check_files(out, picture, force)
    progress = Progress(quiet=quiet or as_json)
    config = recognised(path, reader)
    with progress.step(f"looking at recordings ({config.name})"):
        survey = look(config)
        proposal = propose(survey, config, task, clock_hz)
    recipe = text(proposal, path, out)
    files, ends = files_below(path)
    if not as_json:
        print(f"{path}: {config.name}, {counted(files, 'file')} ({', '.join(ends[:5])})")
        print(*_shown(survey, proposal), sep="\n", flush=True)
    if not no_trial:
        proposal = _compared(proposal, recipe, survey, progress)
        recipe = text(proposal, path, out)
    atomic.write_bytes(picture, png(survey, path.name or str(path)))
    atomic.write_text(out, recipe)
    if as_json:
        print_json(_report(survey, proposal) | {"recipe": str(out), "plot": str(picture)})
        return
    for line in () if proposal.trial is None else proposal.trial.lines:
        print(f"trial: {line}")
    print(f"picture: {picture}")
    print(f"recipe: {out}   (try: tsfm-adapt train {out} --smoke)")


def _compared(proposal: Proposal, recipe: str, survey: Survey, progress: Progress) -> Proposal:
    """The proposal with the network that is best on validation."""
    from tsfm_adapt.proposal.proposal import with_trial
    from tsfm_adapt.proposal.trial import tried
    from tsfm_adapt.recipe.files import loads

    return with_trial(proposal, tried(loads(recipe), survey, progress))


def _check_task(task: str | None) -> None:
    """Stops where `init` can propose no recipe for a task.

    Raises:
        RecipeError: with the names of those that it can.
    """
    from tsfm_adapt.errors import RecipeError, closest
    from tsfm_adapt.proposal.proposal import proposable

    if task is not None and task not in proposable():
        raise RecipeError(
            f"--task: init proposes no recipe for '{task}'.{closest(task, tuple(proposable()))} "
            f"Known: {', '.join(proposable())}."
        )


def _check_files(out: Path, picture: Path, force: bool) -> None:
    """Stops where recipe or picture cannot be written to their files.

    Raises:
        RecipeError: both are one file, one is a folder, or one exists and `force` is False.
    """
    from tsfm_adapt.errors import RecipeError

    for file in (out, picture):
        if file.is_dir() or out == picture:
            raise RecipeError(
                f"--out and --plot are two files: '{file}' is "
                f"{'a folder' if file.is_dir() else 'both'}. Name another."
            )
        if file.exists() and not force:
            raise RecipeError(
                f"init overwrites nothing: '{file}' exists. Give another --out or --plot, or "
                "--force."
            )


def _shown(survey: Survey, proposal: Proposal) -> list[str]:
    """The survey and the proposal as lines of text."""
    every = f"{len(survey.listed)}{' or more' if survey.more else ''}"
    lengths = f"{_time(min(survey.durations_s))} to {_time(max(survey.durations_s))} long"
    lines = [
        f"looked at {survey.looked} of {every} recordings; {_who(survey, proposal)}; {lengths}",
        f"longest gap in all channels at once: {_time(survey.longest_gap_s)}",
        "",
    ]
    lines_of = {line.name: line for line in proposal.channels}
    width = min(24, max(len(_short(channel.name)) for channel in survey.channels))
    for channel in survey.channels:
        units = "/".join(_short(unit) for unit in channel.units)
        remarks = "; ".join(_remarks(channel, lines_of[channel.name]))
        lines.append(
            f"  {_short(channel.name):<{width}}  {units:<9} {_rate(channel):>12}  "
            f"{channel.quantiles[1]:>9.4g} .. {channel.quantiles[3]:<9.4g} {remarks}".rstrip()
        )
    lines += ["", *(f"note: {note}" for note in proposal.notes), *_asked(survey, proposal)]
    window, rate_hz = proposal.window, proposal.rate_hz
    ahead = f", {window.horizon} ahead" if window.horizon else ""
    lines.append(
        f"proposed: {proposal.task} {len(proposal.kept)} of {len(survey.channels)} channels, one "
        f"sample every {_time(1 / rate_hz)}, {window.context} samples of context{ahead}, split "
        f"by {proposal.split['by']}"
    )
    return lines


def _who(survey: Survey, proposal: Proposal) -> str:
    """How many subjects, or that nobody knows."""
    if proposal.reader.names_subjects or len(survey.listed) == 1:
        return counted(survey.subjects, "subject")
    return f"subjects: unknown ({survey.subjects} if each file is one)"


def _asked(survey: Survey, proposal: Proposal) -> list[str]:
    """The option that would say who was recorded, where nobody knows; one line a setting."""
    import yaml

    reader = proposal.reader
    if reader.names_subjects or len(survey.listed) == 1:
        return []
    known = reader.model_dump(mode="json", exclude_defaults=True)
    known = {"name": reader.name} | {key: known[key] for key in known if key != "root"}
    written = [
        yaml.safe_dump(
            known | {name: "WHO"}, default_flow_style=True, sort_keys=False, width=10**6
        )
        for name in reader.subject_settings
    ]
    return [f"who was recorded? --reader {_quoted(settings.strip())}" for settings in written]


def _quoted(text: str) -> str:
    """An argument for a shell, the plainer of two ways."""
    import shlex

    return shlex.quote(text) if set(text) & set('"$`\\!') else f'"{text}"'


def _remarks(channel: Channel, line: ChannelLine) -> list[str]:
    """Remarks on a channel: missing and impossible values, flat stretches, why it is left out."""
    from tsfm_adapt.proposal.wording import readings, share_measured

    remarks = []
    if channel.regular and channel.measured < channel.samples:
        remarks.append(f"{share_measured(channel)} measured")
    if not channel.regular:
        remarks.append(f"{readings(channel)} readings a recording")
    if line.zero:
        remarks.append(f"suspicious zeros: {line.zero}")
    if line.limits is not None and not line.left_out:
        low, high = line.limits
        if (channel.low < low and not line.zero) or channel.high > high or channel.low < 0 <= low:
            remarks.append(
                f"impossible values: {channel.low:.4g} .. {channel.high:.4g} outside "
                f"{low:g} .. {high:g}"
            )
    if line.flatline_s is not None and not channel.constant:
        remarks.append(f"flat for {_time(channel.longest_flat_s)}")
    if line.left_out:
        remarks.append(f"left out: {line.why}")
    return remarks


def _report(survey: Survey, proposal: Proposal) -> dict[str, JsonValue]:
    """The survey and the proposal as one JSON document."""
    lines_of = {line.name: line for line in proposal.channels}
    return {
        "reader": proposal.reader.model_dump(mode="json"),
        "recordings": {
            "looked_at": survey.looked,
            "listed": len(survey.listed),
            "more": survey.more,
            "subjects": survey.subjects,
            "subjects_known": proposal.reader.names_subjects,
            "shortest_s": min(survey.durations_s),
            "longest_s": max(survey.durations_s),
            "longest_gap_s": survey.longest_gap_s,
        },
        "channels": {
            channel.name: {
                "units": list(channel.units),
                "rate_hz": channel.usual_hz,
                "recordings": channel.recordings,
                "subjects": channel.subjects,
                "measured": channel.measured,
                "samples": channel.samples,
                "zeros": channel.zeros,
                "lowest": channel.low if channel.measured else None,
                "highest": channel.high if channel.measured else None,
                "median": channel.median if channel.measured else None,
                "longest_flat_s": channel.longest_flat_s,
                "longest_gap_s": channel.longest_gap_s,
                "kept": not lines_of[channel.name].left_out,
                "remarks": [*_remarks(channel, lines_of[channel.name])],
            }
            for channel in survey.channels
        },
        "proposed": {
            "task": proposal.task,
            "rate_hz": proposal.rate_hz,
            "context": proposal.window.context,
            "horizon": proposal.window.horizon,
            "split": dict(proposal.split),
        },
        "notes": list(proposal.notes),
        "trial": _scores(proposal.trial),
    }


def _scores(trial: Trial | None) -> JsonValue:
    """A trial for `--json`; None = nobody asked."""
    if trial is None:
        return None
    return {
        "on": trial.on,
        "metric": None if trial.metric is None else trial.metric.name,
        "scores": {row.name: row.score for row in trial.rows},
        "networks": [row.name for row in trial.rows if row.network],
        "proposed": None if trial.best is None else trial.best.name,
    }


def _rate(channel: Channel) -> str:
    middle = channel.usual_hz
    if middle is None:
        return "-"
    return f"{middle:.4g} Hz" if middle >= 1 else f"every {_time(1 / middle)}"


def _time(seconds: float) -> str:
    from tsfm_adapt._util.durations import duration

    return duration(seconds)


def _short(name: str) -> str:
    """A name from a file on one line of a terminal."""
    return "".join(c if c.isprintable() else "?" for c in name)[:24]
