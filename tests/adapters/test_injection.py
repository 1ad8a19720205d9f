"""Which layers peft takes over: roles, blocks, stacks."""

import copy
import importlib
import re

import pytest

from tsfm_adapt._util.renamed import written
from tsfm_adapt.adapters import lora
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.base import Encoder
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.components import built_in, component
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.model import AdaptedModel

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")


def size(model):
    return sum(p.numel() for p in model.trainable().values())


def test_a_role_that_the_backbone_lacks_is_refused_with_those_it_has():
    backbone = Chronos2.tiny()
    known = dict(backbone.sites())
    del known["mlp.out"], known["attn.k"]
    backbone.sites = lambda: known
    with pytest.raises(RecipeError, match=r"chronos2 has no attn.k, mlp.out\. Its sites: attn.q"):
        lora.Config(sites=("attn.q", "attn.k", "mlp.out")).build().attach(backbone, Setting())


def backbone_class(name):
    """The class that a component file is for."""
    module = importlib.import_module(f"tsfm_adapt.backbones.{name}")
    classes = [member for member in vars(module).values() if isinstance(member, type)]
    (found,) = (c for c in classes if issubclass(c, Encoder) and c.__module__ == module.__name__)
    return found


@pytest.mark.parametrize("name", built_in("backbone"))
def test_a_choice_of_blocks_restricts_it_to_those_blocks_of_every_stack(name):
    for package in component("backbone", name).requires:
        pytest.importorskip(package)
    backbone = backbone_class(name).tiny()

    def adapted_blocks(blocks):
        adapter = lora.Config(rank=1, sites=EVERYWHERE, blocks=blocks).build()
        model = AdaptedModel(copy.deepcopy(backbone), [adapter])
        return {
            next(part for part in name.split(".") if part.isdecimal())
            for name in model.trainable()
        }, size(model)

    both_ends = {"from": 0, "to": 1}
    first, last, both = (adapted_blocks(blocks) for blocks in ([0], [1], both_ends))
    assert (first[0], last[0], both[0]) == ({"0"}, {"1"}, {"0", "1"})
    assert first[1] + last[1] == both[1]
    assert adapted_blocks("last") == adapted_blocks({"from": 1, "to": 1}) == last
    assert adapted_blocks("all") == adapted_blocks([1, 0]) == both


def test_the_last_block_is_that_of_every_stack():

    backbone = ChronosBolt.tiny()
    del backbone.model.decoder.block[1]  # one block beside an encoder of two
    adapter = lora.Config(rank=1, sites=("attn.q",), blocks="last").build()
    adapter.attach(backbone, Setting())
    parameters = backbone.network.named_parameters()
    adapted = {name.split(".layer.")[0] for name, p in parameters if p.requires_grad}
    assert adapted == {
        "model.encoder.block.1",
        "model.decoder.block.0",
    }


@pytest.mark.parametrize("blocks", [[2], [0, 2], {"from": 0, "to": 2}, {"from": 6, "to": 11}])
def test_blocks_that_do_not_exist_are_refused_with_those_that_do(blocks):
    asked = re.escape(written(blocks))
    message = rf"lora\.blocks: {asked} asks for .*chronos2 does not have.*blocks 0 to 1"
    with pytest.raises(RecipeError, match=message):
        lora.Config(blocks=blocks).build().attach(Chronos2.tiny(), Setting())
