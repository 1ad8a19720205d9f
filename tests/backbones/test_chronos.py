import json

import pytest
from huggingface_hub import utils as hub
from transformers.utils import logging

from tsfm_adapt.backbones.chronos2 import Chronos2, Config
from tsfm_adapt.errors import RecipeError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chronos2")
    Chronos2.tiny().save(folder)
    return folder


@pytest.fixture(params=["shown", "hidden", "hidden on the Hub"])
def bars(request):
    """Switches of progress bars as a program set them before; put back after the test."""
    before = switches()
    switch(request.param != "hidden", request.param == "shown")
    yield switches()
    switch(*before)


def switches():
    """Whether `transformers` shows bars, and whether the Hub does."""
    return logging.is_progress_bar_enabled(), not hub.are_progress_bars_disabled()


def switch(transformers, of_hub):
    logging.enable_progress_bar() if transformers else logging.disable_progress_bar()
    hub.enable_progress_bars() if of_hub else hub.disable_progress_bars()


def test_loading_a_folder_shows_no_bar_and_leaves_switches_of_bars_as_found(folder, bars, capsys):
    Config(checkpoint=str(folder)).build()
    assert switches() == bars
    assert capsys.readouterr() == ("", "")


def test_so_does_a_folder_that_cannot_be_loaded(folder, bars, tmp_path):
    settings = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | {"num_layers": 3}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(RecipeError, match="lacks"):
        Config(checkpoint=str(tmp_path)).build()
    assert switches() == bars
