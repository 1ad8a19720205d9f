"""Writes reference/cli.md: what each verb says of itself."""

from __future__ import annotations

from typing import Any

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from tsfm_adapt.cli.app import app

PAGE = "reference/cli.md"

_HEAD = """# Command line

Exit codes: 0 done, 2 a recipe or usage to correct, 3 data, 4 environment (a package, disk or
connection), 5 training diverged, 130 interrupted. Errors go to standard error, one sentence for
the rule, one for what was found, one for the next step. With `--json`, standard output holds one
JSON document and nothing else.

Environment variables: `TSFM_ADAPT_DATA`, the folder that relative paths of readers start from;
`TSFM_ADAPT_CACHE`, where recordings and features are kept (default `~/.cache/tsfm-adapt`);
`TSFM_ADAPT_STORAGE`, the database of `tune`; `HF_HUB_OFFLINE=1` never asks the Hub.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page."""
    files.append(File.generated(config, PAGE, content=page()))
    return files


def page() -> str:
    """The page as Markdown: the help of every verb, in the order of the tool."""
    group: Any = typer.main.get_command(app)
    sections = [_HEAD]
    with group.make_context("tsfm-adapt", [], resilient_parsing=True) as above:
        above.terminal_width = above.max_content_width = 96
        for name, command in group.commands.items():
            # Made through the group, so that usage names the tool
            with type(above)(command, info_name=name, parent=above) as context:
                sections.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(sections)
