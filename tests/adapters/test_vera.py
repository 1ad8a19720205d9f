import pytest
import torch

from contracts.adapter import AdapterContract, quantiles, train
from contracts.batch import assert_near, random_batch, roughened
from tsfm_adapt.adapters import vera
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.model import AdaptedModel

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")


class TestVera(AdapterContract):
    config = vera.Config(rank=16)


class TestVeraEverywhere(AdapterContract):
    config = vera.Config(rank=8, sites=EVERYWHERE)


def adapted(**settings):
    return AdaptedModel(roughened(Chronos2.tiny()), [vera.Config(**settings).build()])


@pytest.mark.parametrize("rank", [1, 16, 256])
def test_its_size_is_one_number_an_output_and_one_a_rank(rank):
    # 2 blocks x (time, group) attention, q and v of 32 x 32 each; feed-forward 32 -> 64 -> 32
    attention, feed_forward = 2 * 2 * (32 + rank), (64 + rank) + (32 + rank)
    small, large = adapted(rank=rank), adapted(rank=rank, sites=EVERYWHERE)
    assert sum(p.numel() for p in small.trainable().values()) == 2 * attention
    assert sum(p.numel() for p in large.trainable().values()) == 4 * attention + 2 * feed_forward


def test_the_update_is_two_diagonals_around_one_projection_for_all_layers():
    backbone, adapter = roughened(Chronos2.tiny()), vera.Config(rank=4, sites=EVERYWHERE).build()
    layers = {n: m for n, m in backbone.network.named_modules() if n.endswith((".q", ".wi"))}
    before = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    model = AdaptedModel(backbone, [adapter])
    train(model, random_batch())
    tensors, expected = model.trainable(), {}
    some = backbone.network.get_submodule(next(iter(before)))
    low, high = some.vera_A["default"], some.vera_B["default"]
    assert (low.shape, high.shape) == ((4, 64), (64, 4))
    for name, weight in before.items():
        b, d = (tensors[f"network.{name}.vera_lambda_{x}.default"].detach() for x in "bd")
        rows, columns = weight.shape
        expected[name] = weight + b.diag() @ high[:rows] @ d.diag() @ low[:, :columns]
    adapter.merge(backbone)
    for name, weight in expected.items():
        merged = backbone.network.get_submodule(name).weight
        assert_near(merged, weight, relative=1e-6)
        assert (merged - before[name]).abs().max() > 1e-4


def test_the_projection_comes_from_its_own_seed_alone():
    def projection(**settings):
        torch.manual_seed(torch.seed())  # what ran before must not matter
        model = adapted(rank=4, **settings)
        return next(b for n, b in model.named_buffers() if "vera_A" in n)

    assert torch.equal(projection(), projection())
    assert not torch.equal(projection(), projection(projection_seed=1))


def test_dropout_acts_in_training_only():
    model, batch = adapted(rank=16, dropout=0.5), random_batch()
    train(model, batch, steps=2)
    assert torch.equal(quantiles(model, batch), quantiles(model, batch))
    expected = model(batch).item()
    for name, module in model.network.named_modules():
        module.train("vera_dropout" in name)  # and not the dropout of the base
    assert model(batch).item() != expected
