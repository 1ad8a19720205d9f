"""Other packages' loggers are as they were, however the block ends."""

import logging

import pytest

from tsfm_adapt._util.quiet import log_level


def test_levels_are_set_in_the_block_and_as_they_were_after_it():
    one, other = logging.getLogger("quiet.one"), logging.getLogger("quiet.other")
    one.setLevel(logging.DEBUG)
    with log_level(logging.ERROR, one.name, other.name):
        assert (one.level, other.level) == (logging.ERROR, logging.ERROR)
    assert (one.level, other.level) == (logging.DEBUG, logging.NOTSET)


def test_an_error_leaves_the_levels_as_they_were_too():
    logger = logging.getLogger("quiet.one")
    logger.setLevel(logging.INFO)
    with pytest.raises(KeyError), log_level(logging.ERROR, logger.name):
        raise KeyError
    assert logger.level == logging.INFO
