"""The command line: each verb parses, calls and prints; the work is done below."""

from __future__ import annotations

import sys

from tsfm_adapt.cli.app import app
from tsfm_adapt.cli.options import with_options
from tsfm_adapt.errors import TsfmAdaptError


def main() -> None:
    """Runs the command line and exits; errors that a user can act on have no traceback.

    Exit codes: 2 recipe or usage, 3 data, 4 environment, 5 diverged, 130 interrupted.
    """
    try:
        app()
    except TsfmAdaptError as error:
        print(f"error: {with_options(error)}", file=sys.stderr)
        sys.exit(error.exit_code)
