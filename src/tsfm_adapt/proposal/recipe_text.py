"""A proposal as the text of a recipe: values with their reasons, checked before it is kept.

Names from files go into YAML through its own writer, and into comments without line breaks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import JsonValue

from tsfm_adapt.proposal.channel_lines import ChannelLine
from tsfm_adapt.proposal.proposal import Proposal
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root
from tsfm_adapt.tasks.base import rounded

_COLUMN = 48  # where comments begin, if there is room
_NO_TRIAL = "none: no network was compared with others; this one is where to begin"
_ENDLESS = 10**9  # characters: no line is broken


def text(proposal: Proposal, path: Path, out: Path) -> str:
    """The recipe, which has been read back once.

    Args:
        proposal: what to write.
        path: what was looked at, as the user gave it.
        out: the file that it will be in, for the line that says how to run it.

    Raises:
        RecipeError: never for what `propose` gives; the proposal breaks a rule of recipes.
    """
    lines = [
        f"# {_comment(proposal.written.title)} from {_comment(path.name or str(path))}; "
        "proposed by tsfm-adapt init.",
        f"# Run:   tsfm-adapt train {_comment(str(out))}      (add --smoke to see that it fits)",
        "# Every number below is a guess with its reason behind it: look them over.",
        *(f"# Note:  {_comment(note)}" for note in proposal.notes),
        *(f"# Trial: {_comment(line)}" for line in _trial(proposal)),
        f"name: {_name(path)}",
        "seed: 17",
        "data:",
        *_reader(proposal.reader),
        *_channels(proposal),
        _beside(f"  rate_hz: {_number(proposal.rate_hz)}", proposal.rate_why),
        *_cleaning(proposal),
        _beside(f"  split: {_flow(dict(proposal.split))}", proposal.split_why),
        *_sections(proposal, ("backbone", "adapters", "head")),
        *_task(proposal),
        *_sections(proposal, ("train", "evaluate")),
    ]
    written = "\n".join(line.rstrip() for line in lines) + "\n"
    loads(written, source="the proposed recipe")
    return written


def _trial(proposal: Proposal) -> list[str]:
    return [_NO_TRIAL] if proposal.trial is None else proposal.trial.lines


def _name(path: Path) -> str:
    """The recipe's name, out of the letters that it may have."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", path.absolute().stem).strip("-._")
    return _scalar(plain[:80] or "recordings")


def _reader(reader: ReaderConfig) -> list[str]:
    settings = reader.model_dump(mode="json", exclude_defaults=True)
    ordered: dict[str, JsonValue] = {"name": reader.name}
    if "root" in type(reader).model_fields:
        ordered["root"] = portable(str(settings["root"]))
    ordered |= {key: value for key, value in settings.items() if key not in ordered}
    if "parts" in type(reader).model_fields and getattr(reader, "parts", ...) is None:
        ordered["parts"] = None
    lines = ["  reader:"]
    stated = type(reader).model_fields
    for key, value in ordered.items():
        line = f"    {key}: {_flow(value)}"
        if key in ("rate_hz", "unit") and stated[key].is_required():
            meaning = "1 counts in samples" if key == "rate_hz" else "'1' stands for unknown"
            line = _beside(
                line, f"the format does not state it, {meaning}: correct it if you know"
            )
        lines.append(line)
    if not reader.names_subjects:
        lines += [
            _beside(f"    # {name}: ...", "who was recorded is not known: each file is a subject")
            for name in reader.subject_settings
        ]
    return lines


def portable(root: str) -> str:
    """A root relative to the working directory or TSFM_ADAPT_DATA, where it lies below one."""
    absolute = _absolute(root)
    data = os.environ.get("TSFM_ADAPT_DATA")
    bases = ([_absolute(data)] if data else []) + [Path.cwd()]
    for base in bases:
        if not absolute.is_relative_to(base):
            continue
        relative = absolute.relative_to(base).as_posix()
        if resolve_root(relative).samefile(absolute):
            return relative
    return str(absolute)


def _absolute(path: str) -> Path:
    """Without `..`; links stay as they are named."""
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100  # resolve follows links


def _channels(proposal: Proposal) -> list[str]:
    lines = ["  channels:"]
    for line in proposal.channels:
        unit: Any = line.unit
        if line.from_unit is not None:
            unit = {"unit": line.unit, "from_unit": line.from_unit}
            if line.unit_assumed:
                unit["unit_assumed"] = True
        entry = f"{_scalar(line.name)}: {_flow(unit)}"
        if line.left_out:
            lines.append(_beside(f"    # {_comment(entry)}", f"left out: {line.why}"))
        else:
            lines.append(_beside(f"    {entry}", line.why))
    return lines


def _cleaning(proposal: Proposal) -> list[str]:
    """The section; what only the values seen speak for is commented out."""
    kept = proposal.kept
    lines: list[str] = []
    zeros = [line for line in kept if line.zero]
    if zeros:
        lines.append("    zero_is_missing:")
        lines += [_beside(f"      - {_scalar(line.name)}", str(line.zero)) for line in zeros]
    known = [_beside(f"      {_range(c, c.limits)}", c.limits_why) for c in kept if c.limits]
    wide = [
        _beside(f"    #   {_comment(_range(c, c.wide))}", "the 0.1 to 99.9 percentiles, widened")
        for c in kept
        if c.wide is not None and c.limits is None
    ]
    if known:
        lines.append(_beside("    ranges:", "outside = missing"))
    elif wide:
        lines.append(_beside("    # ranges:", "outside = missing; nothing is known of these"))
    lines += known + wide
    still = [
        _beside(
            f"    #   {_comment(_scalar(line.name))}: {line.flatline_s:g}",
            "some values repeat for longer, s",
        )
        for line in kept
        if line.flatline_s is not None
    ]
    lines += ["    # flatline_s:", *still] if still else []
    if proposal.max_gap_s is not None:
        lines.append(_beside(f"    max_gap_s: {_number(proposal.max_gap_s)}", proposal.gap_why))
    else:
        lines.append(_beside("    # max_gap_s: none", proposal.gap_why))
    filled = zeros or known or proposal.max_gap_s is not None
    return ["  cleaning:" if filled else "  cleaning: {}", *lines]


def _sections(proposal: Proposal, names: Sequence[str]) -> list[str]:
    """Whole sections that the task proposes; lists of mappings an entry a line."""
    lines = []
    for name in names:
        value = proposal.written.sections.get(name)
        why = proposal.written.section_reasons.get(name, "")
        if value is None:
            continue
        if isinstance(value, list):
            lines += [_beside(f"{name}:", why), *(f"  - {_flow(entry)}" for entry in value)]
        else:
            lines.append(_beside(f"{name}: {_flow(value)}", why))
    return lines


def _task(proposal: Proposal) -> list[str]:
    context_s = rounded(proposal.window.context / proposal.rate_hz)
    lines = [
        "task:",
        _beside(f"  name: {proposal.task}", proposal.task_why),
        _beside(f"  context_s: {_flow(context_s)}", proposal.window_why),
    ]
    for field, value in proposal.written.task.items():
        why = proposal.written.reasons.get(field, "")
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines += [_beside(f"  {field}:", why), *(f"    - {_flow(own)}" for own in value)]
        else:
            lines.append(_beside(f"  {field}: {_flow(value)}", why))
    return lines


def _range(line: ChannelLine, limits: tuple[float, float] | None) -> str:
    assert limits is not None
    return f"{_scalar(line.name)}: [{limits[0]:g}, {limits[1]:g}]"


def _number(value: float) -> str:
    """As 1/60 where that is exact, else with all digits that matter."""
    if value < 1 and abs(1 / value - round(1 / value)) < 1e-6 / value:
        return f"1/{round(1 / value)}"
    return f"{value:.10g}"


def _flow(value: Any) -> str:
    """YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(own)}" for key, own in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flow, value))}]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """Quoted where it has to be, within brackets too; never over two lines."""
    dumped = str(
        yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=_ENDLESS)
    )
    written = dumped.strip()[1:-1]
    if written.isprintable():
        return written
    return str(yaml.safe_dump(value, default_style='"', width=_ENDLESS)).strip()


def _beside(line: str, why: str) -> str:
    """A line with its reason behind it."""
    return f"{line:<{_COLUMN}}  # {_comment(why)}" if why else line


def _comment(text: str) -> str:
    """Text that ends with its line, whatever it holds."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
