"""The command line: each verb parses, calls and prints; the work is done below."""

from __future__ import annotations

import sys

from tsfm_adapt.cli.app import app
from tsfm_adapt.errors import Interrupted, TsfmAdaptError


def main() -> None:
    """Runs the command line; errors that a user can act on have no traceback.

    Exit codes: 2 recipe or usage, 3 data, 4 environment, 5 diverged, 130 interrupted.
    """
    import click

    try:
        code = app(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort:
        code = Interrupted.exit_code
    except TsfmAdaptError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)
