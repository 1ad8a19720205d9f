"""Upstream's own file of Lag-Llama: it loads, and nothing in it is ever run."""

import functools
import os
import pickle
import re

import pytest
import torch

from contracts.batch import assert_same, outputs, random_batch, roughened
from tsfm_adapt.backbones.lag_llama import Config, LagLlama
from tsfm_adapt.errors import RecipeError

TOKENS, SAMPLES = 24, 10  # of tiny


def small(checkpoint, **fields):
    """As `tiny`, from a checkpoint."""
    return Config(checkpoint=str(checkpoint), context=TOKENS, samples=SAMPLES, **fields)


def lightning_content(**more):
    """What upstream's Lightning module saves of a tiny network."""
    net = roughened(LagLlama.tiny()).model
    return {
        "state_dict": {f"model.{name}": tensor for name, tensor in net.state_dict().items()},
        "hyper_parameters": {
            "model_kwargs": {**net.settings, "num_parallel_samples": 100, "dropout": 0.0},
            "context_length": 32,
        },
        **more,
    }


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "lag-llama.ckpt"
    torch.save(lightning_content(), path)
    return path


def assert_as_tiny(backbone):
    batch = random_batch()
    assert_same(outputs(backbone, batch), outputs(roughened(LagLlama.tiny()), batch))


def test_the_published_file_loads_by_itself_in_its_folder_and_from_the_hub(
    tmp_path, published, monkeypatch
):
    import huggingface_hub

    asked = []

    def download(repository, name, revision):
        asked.append((repository, name, revision))
        return str(published)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    hub = "time-series-foundation-models/Lag-Llama"
    for checkpoint in (published, tmp_path, hub):
        assert_as_tiny(small(checkpoint, revision="main").build())
    assert asked == [(hub, "lag-llama.ckpt", "main")]
    assert small(hub).build(weights=False).spec.licence == "apache-2.0"


def test_objects_of_a_later_gluonts_load_as_inert_stand_ins(tmp_path):
    """Those name functools.partial, getattr and more, which torch's reader refuses."""
    from gluonts.torch.distributions import StudentTOutput

    content = lightning_content(loss=functools.partial(getattr, StudentTOutput(), "distr_cls"))
    content["hyper_parameters"]["model_kwargs"]["distr_output"] = StudentTOutput()
    torch.save(content, tmp_path / "later.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "later.ckpt", weights_only=True)
    assert_as_tiny(small(tmp_path / "later.ckpt").build())


class Attack:
    """Runs a command where it is unpickled with Python's own reader."""

    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


def attacks(marker):
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    return [Attack(os.system, f"touch '{marker}'"), Attack(eval, code), Attack(exec, code)]


@pytest.mark.parametrize("which", range(3))
def test_nothing_in_a_file_is_ever_run(tmp_path, which):
    marker, path = tmp_path / "it ran", tmp_path / "bad.ckpt"
    attack = attacks(marker)[which]
    pickle.loads(pickle.dumps(attack))
    assert marker.exists()  # it would
    marker.unlink()

    torch.save(lightning_content(callbacks=attack), path)
    assert_as_tiny(small(path).build())  # the rest of the file is a Lag-Llama
    torch.save(attack, path)
    with pytest.raises(RecipeError, match=re.escape(str(path))):
        Config(checkpoint=str(path)).build()
    path.write_bytes(pickle.dumps(attack))  # not in a zip file, as before torch 1.6
    with pytest.raises(RecipeError, match=re.escape(str(path))):
        Config(checkpoint=str(path)).build()
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [{}, [], {"state_dict": {}}, {"state_dict": 1, "hyper_parameters": {"model_kwargs": {}}}],
)
def test_a_checkpoint_of_something_else_is_refused_by_name(tmp_path, content):
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(RecipeError, match=re.escape(str(tmp_path))):
        Config(checkpoint=str(tmp_path / "other.ckpt")).build()


@pytest.mark.parametrize("kept", [0, 10, 3000, -300])
def test_a_checkpoint_that_was_cut_short_is_refused_by_name(tmp_path, published, kept):
    (tmp_path / "cut.ckpt").write_bytes(published.read_bytes()[:kept])
    with pytest.raises(RecipeError, match=r"cut\.ckpt"):
        Config(checkpoint=str(tmp_path / "cut.ckpt")).build()
