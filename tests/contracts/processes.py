"""Processes to be interrupted."""

import signal
import subprocess
import sys


def python(*arguments, **options):
    """A new Python, which hears Ctrl-C whatever started the tests.

    A shell lets what it starts in the background ignore it, and what that starts ignores it too.
    """
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )
