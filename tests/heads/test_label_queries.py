"""Label queries: the contract, and a block that is trained in one run and used in another."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from contracts.batch import roughened
from contracts.fitted import card
from contracts.head import ClassHeadContract, classified, labelled_batch, logits, stepped, tiny
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.heads import label_queries, linear
from tsfm_adapt.heads._nets.attention import LabelQueries
from tsfm_adapt.runs import bundle


class TestLabelQueries(ClassHeadContract):
    config = label_queries.Config(probes=2)
    added_to_all = frozenset({"module_of_head.block.leave.bias"})


def backbone():
    return roughened(Chronos2.tiny())


@pytest.fixture
def source(tmp_path):
    """A bundle whose block was trained."""
    model = classified(label_queries.Config(probes=2), backbone())
    stepped(model, labelled_batch(), steps=3)
    folder = tmp_path / "source"
    bundle.write(folder, model, card(model), {})
    return folder


def block_of(model):
    return {k: v.clone() for k, v in model.head.module.block.state_dict().items()}


def test_a_shared_block_is_taken_and_stays_as_it_is(source):
    trained = load_file(source / "modules.safetensors")
    model = classified(label_queries.Config(probes=3, shared=str(source)), backbone())
    before = block_of(model)
    for name, tensor in before.items():
        if name != "heads":
            assert torch.equal(tensor, trained[f"module_of_head.block.{name}"]), name
    assert set(model.trainable()) == {"module_of_head.channel", "module_of_head.queries"}
    assert model.head.module.queries.std() < 0.02
    batch = labelled_batch()
    losses = stepped(model, batch, steps=8)
    assert losses[-1] < losses[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in block_of(model).items())


def test_a_bundle_brings_the_shared_block_with_it(source, tmp_path):
    config = label_queries.Config(shared=str(source))
    model, batch = classified(config, backbone()), labelled_batch()
    stepped(model, batch, steps=3)
    expected = logits(model, batch)
    bundle.write(tmp_path / "adapted", model, card(model), {})
    shutil.rmtree(source)
    again = classified(config, backbone(), seed=1, fitted=False)
    bundle.restore(tmp_path / "adapted", again)
    assert torch.equal(logits(again, batch), expected)
    # and can be shared on, like the one that it came from
    onward = classified(label_queries.Config(shared=str(tmp_path / "adapted")), backbone())
    assert all(torch.equal(t, block_of(model)[name]) for name, t in block_of(onward).items())


def test_what_cannot_be_shared_is_refused(source, tmp_path):
    def build(folder, heads=4, family="chronos2"):
        config = label_queries.Config(shared=str(folder), heads=heads)
        return classified(config, tiny(family))

    with pytest.raises(RecipeError, match=r"no bundle, it has no bundle\.json"):
        build(tmp_path / "nowhere")
    with pytest.raises(RecipeError, match="has 4 heads, the recipe 2"):
        build(source, heads=2)
    wide = next(n for n in ("moirai", "moirai2") if tiny(n).spec.width == 64)
    with pytest.raises(RecipeError, match="is 32, the backbone's 64"):
        build(source, family=wide)
    with pytest.raises(RecipeError, match="read the tokens of other base weights"):
        classified(label_queries.Config(shared=str(source)), Chronos2.tiny())  # not roughened
    written = (source / "bundle.json").read_text()
    (source / "bundle.json").write_text("[]")
    with pytest.raises(RecipeError, match=r"bundle\.json' cannot be read"):
        build(source)
    (source / "bundle.json").write_text(written)
    (source / "modules.safetensors").write_bytes(b"not tensors")
    with pytest.raises(RecipeError, match="cannot be read"):
        build(source)
    (source / "modules.safetensors").unlink()
    with pytest.raises(RecipeError, match="holds no block of label_queries"):
        build(source)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(RecipeError, match="5 does not divide the 32 numbers"):
        classified(label_queries.Config(heads=5), backbone())


def test_it_reads_what_a_linear_head_with_attention_reads():
    batch = labelled_batch()
    ours = classified(label_queries.Config(probes=3), backbone())
    other = classified(linear.Config(pooling="attention"), backbone())
    assert ours.head.cache_key == other.head.cache_key
    assert torch.equal(ours.features(batch), other.features(batch))


def network_of_two_channels():
    sizes = {"channels": 2, "width": 8, "classes": 3, "probes": 2, "heads": 2}
    return LabelQueries(**sizes, dropout=0.0, scale=1.0)
