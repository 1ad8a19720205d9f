"""Settings that hide blocks and single values of small windows."""

from tsfm_adapt.tasks import impute

BLOCKS = {"pattern": "block", "rate": 0.25, "lengths_s": (60, 240)}
POINTS = {"pattern": "point", "rate": 0.2}


def config(**changes):
    return impute.Config(**{"context_s": 1920, "stride_s": 420, "missingness": [BLOCKS]} | changes)
