"""Where a bundle lies; what it holds of a head is in tests/heads/test_label_queries.py."""

import pytest
import torch
from safetensors.torch import save_file

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.training.bundle_files import CARD, FITTED, TRAINED, bundle_in, saved_head


def test_a_folder_is_a_bundle_or_holds_one_or_neither(tmp_path):
    assert bundle_in(tmp_path) is None
    (tmp_path / CARD).write_text("{}")
    assert bundle_in(tmp_path) == tmp_path
    inner = tmp_path / "bundle"
    inner.mkdir()
    assert bundle_in(tmp_path) == tmp_path, "a folder without a card is no bundle"
    (inner / CARD).write_text("{}")
    assert bundle_in(tmp_path) == inner, "a run's own bundle comes first"


def test_a_saved_head_is_its_trained_and_fitted_tensors_alone(tmp_path):
    (tmp_path / CARD).write_text('{"base_sha256": "abc"}')
    save_file(
        {"module_of_head.block.a": torch.ones(2), "network.lora": torch.ones(3)},
        tmp_path / TRAINED,
    )
    save_file(
        {"module_of_head.mean": torch.zeros(1), "deviation": torch.ones(1)}, tmp_path / FITTED
    )
    saved = saved_head(tmp_path)
    assert saved.base_sha256 == "abc"
    assert {name: tensor.tolist() for name, tensor in saved.tensors.items()} == {
        "block.a": [1.0, 1.0],
        "mean": [0.0],
    }


def test_a_card_without_the_hash_of_its_base_is_refused(tmp_path):
    (tmp_path / CARD).write_text("{}")
    with pytest.raises(RecipeError, match=r"bundle\.json' cannot be read.*base_sha256"):
        saved_head(tmp_path)
