"""What a library could leave changed in the process that called it."""

import logging
import signal
import warnings

import lightning.pytorch  # noqa: F401  # both set up their loggers when they are imported
import optuna  # noqa: F401

LOGGERS = ("", "lightning.pytorch", "lightning.fabric", "optuna", "alembic")


def process_state():
    """Levels and handlers of loggers, filters of warnings, handlers of signals."""
    loggers = {
        name: (logger.level, tuple(logger.handlers), logger.propagate, logger.disabled)
        for name in LOGGERS
        for logger in [logging.getLogger(name)]
    }
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return loggers, list(warnings.filters), logging.root.manager.disable, signals
