"""One spelling of blocks for all adapters, and the one of version 0.1 with a warning."""

import warnings

import pytest
from pydantic import ValidationError

from tsfm_adapt.adapters import adalora, channel_mixer, fourierft, ia3, lora, partial, vera
from tsfm_adapt.adapters._blocks import BlockRange, chosen
from tsfm_adapt.errors import RecipeError

INJECTED = (lora, adalora, vera, fourierft, ia3)
WITH_BLOCKS = (*INJECTED, channel_mixer)
FORMS = ("all", "last", [0, 3], {"from": 1, "to": 2})


def blocks_of(value):
    return lora.Config(blocks=value).blocks


@pytest.fixture
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.usefixtures("no_warning")
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("adapter", WITH_BLOCKS, ids=lambda module: module.__name__.split(".")[-1])
def test_every_form_is_written_as_it_is_read(adapter, form):
    config = adapter.Config(blocks=form)
    assert config.model_dump(mode="json")["blocks"] == form
    assert adapter.Config(**config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("form", "numbers"),
    [
        ("all", (0, 1, 2, 3)),
        ("last", (3,)),
        ([0, 3], (0, 3)),
        ([3, 0, 3], (0, 3)),
        ({"from": 0, "to": 3}, (0, 1, 2, 3)),
        ({"from": 1, "to": 2}, (1, 2)),
        ({"from": 2, "to": 2}, (2,)),
    ],
    ids=str,
)
def test_two_numbers_are_two_blocks_and_a_range_has_both_ends(form, numbers):
    assert chosen(blocks_of(form), range(4), "lora", "chronos2") == numbers


def test_a_range_passes_over_blocks_without_the_layers_that_are_meant():
    assert chosen(blocks_of({"from": 0, "to": 3}), [0, 3], "lora", "chronos2") == (0, 3)


@pytest.mark.parametrize(
    "form", [[4], [0, 9], {"from": 0, "to": 4}, {"from": 5, "to": 6}], ids=str
)
def test_blocks_that_are_not_there_are_refused_with_those_that_are(form):
    message = "adapters.vera.blocks: .* asks for blocks that moment does not have. It has blocks 0"
    with pytest.raises(RecipeError, match=message):
        chosen(blocks_of(form), range(4), "vera", "moment")


@pytest.mark.parametrize(
    "form",
    [[], [-1], "first", {"from": 2, "to": 1}, {"from": 1}, {"first": 0, "last": 1}, 2, None],
)
def test_what_names_no_blocks_is_refused_in_one_line_with_all_forms(form):
    with pytest.raises(
        ValidationError, match=r"names no blocks\. Use all, last, .*from: 0"
    ) as error:
        lora.Config(blocks=form)
    assert error.value.error_count() == 1


@pytest.mark.parametrize("adapter", INJECTED, ids=lambda module: module.__name__.split(".")[-1])
def test_layers_of_an_injected_adapter_were_the_first_and_the_last(adapter):
    name = adapter.__name__.split(".")[-1]
    message = rf"{name}\.layers: \[0, 2\] is the old .*\.{name}\.blocks: {{from: 0, to: 2}}"
    with pytest.warns(FutureWarning, match=message):
        config = adapter.Config(layers=[0, 2])
    assert config == adapter.Config(blocks={"from": 0, "to": 2})
    with pytest.warns(FutureWarning, match="layers: null is the old spelling of .*blocks: all"):
        assert adapter.Config(layers=None).blocks == "all"


@pytest.mark.parametrize("form", ["all", "last", [0, 3], [1]], ids=str)
def test_layers_of_the_channel_mixer_were_its_blocks(form):
    with pytest.warns(FutureWarning, match=r"mixer\.layers: .*\.channel_mixer\.blocks: "):
        config = channel_mixer.Config(layers=form)
    assert config == channel_mixer.Config(blocks=form)


def test_blocks_of_partial_fine_tuning_were_how_many():
    with pytest.warns(
        FutureWarning, match=r"partial\.blocks: 2 is .* adapters\.partial\.last_blocks: 2"
    ):
        assert partial.Config(blocks=2) == partial.Config(last_blocks=2)


def test_both_names_at_once_are_refused():
    with pytest.raises(ValidationError, match="layers"):
        lora.Config(layers=[0, 1], blocks="all")


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("layers", [[2, 1], [-1, 1], [1], [0, 1, 2], "first"], ids=str)
def test_layers_that_named_no_blocks_are_refused_as_before(layers):
    with pytest.raises(ValidationError, match=r"blocks|layers"):
        lora.Config(layers=layers)


def test_a_range_is_its_two_numbers():
    assert blocks_of({"from": 1, "to": 2}) == BlockRange.model_validate({"from": 1, "to": 2})
