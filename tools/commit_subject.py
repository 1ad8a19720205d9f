"""Refuses a commit whose subject is no "area: what" of at most 72 characters.

`pre-commit install` has git call it: `python tools/commit_subject.py FILE`, the message's file.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LONGEST = 72
_FORM = re.compile(r"[a-z][\w./ -]*: \S")  # "docs: a picture of a forecast"
_OF_GIT = ("Merge ", "Revert ", "fixup! ", "squash! ")


def problem(subject: str) -> str | None:
    """What is wrong with a subject; None where nothing is."""
    if subject.startswith(_OF_GIT):
        return None
    if len(subject) > LONGEST:
        return f"the subject has {len(subject)} characters, {LONGEST} at most: {subject}"
    if not _FORM.match(subject):
        return f'the subject is not of the form "area: what": {subject}'
    return None


def main() -> int:
    """Exit code 1 and the reason where the message is refused."""
    found = problem(Path(sys.argv[1]).read_text(encoding="utf-8").partition("\n")[0])
    if found:
        print(found, file=sys.stderr)
    return int(found is not None)


if __name__ == "__main__":
    sys.exit(main())
