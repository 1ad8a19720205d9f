"""Every test runs offline, on one thread, from known seeds."""

import os
import sys

# Read when torch, numpy and huggingface_hub are first imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import pytest

pytest.register_assert_rewrite(
    "contracts.adapter",
    "contracts.encoder",
    "contracts.forecaster",
    "contracts.reconstructor",
    "contracts.batch",
    "contracts.head",
    "contracts.reader",
    "contracts.task",
    "contracts.through",
)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """No test finds the features of a run outside the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSFM_ADAPT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def torch_seed():
    """Tests that need torch start from seed 0; the others do not pay for its import."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
