import copy
import signal

import pytest
import torch
from pydantic import ValidationError

from contracts.adapter import AdapterContract, quantiles, train
from contracts.batch import assert_near, random_batch, roughened
from contracts.small_run import model as small_model
from contracts.small_run import train as run
from tsfm_adapt.adapters import adalora
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.training.checkpoints import read

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")
QUICK = {"init_rank": 4, "target_rank": 2, "tinit": 0.25, "tfinal": 0.25, "interval": 3}


class TestAdaLora(AdapterContract):
    config = adalora.Config(init_rank=6, target_rank=4)


class TestAdaLoraEverywhere(AdapterContract):
    config = adalora.Config(init_rank=4, target_rank=2, sites=EVERYWHERE)


def adapted(**settings):
    torch.manual_seed(0)
    adapter = adalora.Config(**settings).build()
    return adapter, AdaptedModel(roughened(Chronos2.tiny()), [adapter])


def values(model):
    """Lambda of every matrix, (matrices, rank)."""
    named = model.trainable().items()
    return torch.stack([p.detach()[:, 0] for name, p in named if "lora_E" in name])


def learn(adapter, model, steps, done=0, until=None):
    """AdamW with `stepped` after each step; the number of triplets left after each of them."""
    batch = random_batch(windows=2, channels=3, samples=40, horizon=16)
    optimiser = torch.optim.AdamW(model.trainable().values(), lr=0.02, weight_decay=0.0)
    model.train()
    left = []
    for step in range(done + 1, (until or steps) + 1):
        torch.manual_seed(step)
        optimiser.zero_grad()
        model(batch).backward()
        optimiser.step()
        adapter.stepped(step, steps)
        left.append(int((values(model) != 0).sum()))
    model.eval()
    return left


def test_the_update_is_the_triplets_scaled():
    _, model = adapted(init_rank=4, target_rank=2, alpha=6.0, sites=("attn.k",))
    batch = random_batch()
    train(model, batch)
    other, tensors = roughened(Chronos2.tiny()), model.trainable()
    with torch.no_grad():
        for name, weight in other.network.named_parameters():
            if name.endswith("self_attention.k.weight"):
                stem = f"network.{name.removesuffix('.weight')}"
                q, value, p = (tensors[f"{stem}.lora_{x}.default"] for x in "AEB")
                weight += 6.0 / 4 * p @ torch.diag(value[:, 0]) @ q
    assert_near(quantiles(model, batch), quantiles(AdaptedModel(other), batch), relative=1e-4)


def test_the_budget_falls_with_the_cube_between_its_two_phases():
    """8 matrices, 24 steps: from 4 to 2 triplets each between steps 6 and 18, every 3rd step."""
    adapter, model = adapted(**QUICK)
    left = learn(adapter, model, 24)
    assert left[:8] == [32] * 8
    for step in (9, 12, 15):
        assert left[step - 1] == int(8 * (2 + 2 * (1 - (step - 6) / 12) ** 3))
        assert left[step] == 32  # between two allocations what was cut may return
    assert left[17:] == [16] * 7


def test_at_the_end_the_ranks_differ_and_their_mean_is_the_target():
    adapter, model = adapted(**QUICK, sites=EVERYWHERE)
    learn(adapter, model, 24)
    ranks = (values(model) != 0).sum(1)
    assert ranks.sum() == 2 * len(ranks)
    assert len(ranks.unique()) > 1


def test_the_triplets_that_stay_are_those_of_high_smoothed_importance():
    adapter, model = adapted(init_rank=3, target_rank=1, tinit=0.0, tfinal=0.5, interval=1)
    named, generator = model.trainable(), torch.Generator().manual_seed(5)
    stems = [name.removesuffix(".lora_E.default") for name in named if "lora_E" in name]
    sensitivity, uncertainty = {}, {}
    for _ in range(2):
        for name, parameter in named.items():
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            now = (parameter.detach() * parameter.grad).abs()
            mean = 0.85 * sensitivity.get(name, now * 0) + 0.15 * now
            spread = 0.85 * uncertainty.get(name, now * 0) + 0.15 * (now - mean).abs()
            sensitivity[name], uncertainty[name] = mean, spread
        adapter._smooth()
    score = {name: sensitivity[name] * uncertainty[name] for name in named}
    expected = torch.stack(
        [
            score[f"{stem}.lora_E.default"][:, 0]
            + score[f"{stem}.lora_A.default"].mean(1)
            + score[f"{stem}.lora_B.default"].mean(0)
            for stem in stems
        ]
    )
    kept = adapter._most_important(5)
    lowest_kept, highest_cut = expected[kept].min(), expected[~kept].max()
    assert kept.sum() == 5
    assert lowest_kept > highest_cut * (1 - 1e-5)


def test_it_starts_orthonormal_and_the_penalty_keeps_it_near():
    def drift(weight):
        adapter, model = adapted(**QUICK, orthogonality=weight)
        model.train()
        if weight:
            assert adapter.penalty(None).item() < 1e-9
        learn(adapter, model, 24)
        model.train()
        adapter.config = adapter.config.model_copy(update={"orthogonality": 1.0})
        return adapter.penalty(None).item()

    assert drift(0.5) < 0.5 * drift(0.0)


def test_the_penalty_counts_how_far_from_orthonormal_and_only_in_training():
    adapter, model = adapted(init_rank=4, target_rank=2, orthogonality=0.5, sites=("attn.q",))
    with torch.no_grad():
        for name, parameter in model.trainable().items():
            if "lora_A" in name:
                parameter.mul_(2.0)  # Q Q' = 4 I, off by 3 on each of the 4 places
    assert adapter.penalty(None) is None
    model.train()
    assert adapter.penalty(None).item() == pytest.approx(0.5 * 4 * 9, rel=1e-4)


def test_the_last_phase_keeps_the_ranks_that_it_found():
    adapter, model = adapted(**QUICK)
    learn(adapter, model, 24)
    before = values(model) != 0
    batch = random_batch(seed=9)
    model(batch).backward()
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(1.0)
    adapter.stepped(24, 24)
    assert torch.equal(values(model) != 0, before)


def test_a_gradient_that_overflowed_does_not_spoil_the_importances():
    adapter, model = adapted(**QUICK)
    learn(adapter, model, 24, until=3)
    for parameter in model.trainable().values():
        parameter.grad = torch.full_like(parameter, torch.inf)
    adapter.stepped(4, 24)
    assert all(tensor.isfinite().all() for tensor in adapter.state().values())


def test_a_copy_with_the_state_goes_on_as_the_original():
    adapter, model = adapted(**QUICK)
    learn(adapter, model, 24, until=10)
    twin = copy.deepcopy(model)
    fresh, other = adapted(**QUICK)
    other.load_trainable({name: p.detach() for name, p in model.trainable().items()})
    other.load_states(model.states())
    assert model.states().keys() == {"0"}
    for each_adapter, each in ((adapter, model), (twin.adapters[0], twin), (fresh, other)):
        learn(each_adapter, each, 24, done=10)
    assert torch.equal(values(model), values(twin))
    assert torch.equal(values(model), values(other))


def bits(folder, name):
    held = read(folder / "checkpoints" / f"{name}.ckpt")
    return {**held["trainable"], **held["adapters"].get("0", {})}


@pytest.mark.parametrize("stops", [(2,), (1, 4, 6, 9)], ids=str)
def test_an_interrupted_and_resumed_run_ends_in_the_same_bits(tmp_path, stops):
    """12 steps, of which 3 come before the pruning and 3 after it."""

    def tiny():
        return small_model(adapters=[adalora.Config(**QUICK, dropout=0.1).build()])

    def interrupt(step):
        if step in stops:
            signal.raise_signal(signal.SIGINT)

    run(tmp_path / "once", adapted=tiny())
    for _ in stops:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped", interrupt, tiny())
    _, last = run(tmp_path / "stopped", adapted=tiny())
    for name in ("last", "best"):
        expected, found = bits(tmp_path / "once", name), bits(tmp_path / "stopped", name)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())
    assert "kept" in bits(tmp_path / "once", "last")
    assert int((values(last) != 0).sum()) == 2 * 8


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"target_rank": 13}, "target_rank: 13 is above init_rank 12"),
        ({"tinit": 0.5, "tfinal": 0.5}, "leaves no step to prune in"),
        ({"beta1": 1.0}, "beta1"),
        ({"interval": 0}, "interval"),
    ],
    ids=str,
)
def test_a_schedule_that_cannot_be_is_refused(settings, told):
    with pytest.raises(ValidationError, match=told):
        adalora.Config(**settings)


def test_a_rank_above_a_matrix_is_refused():
    adapter = adalora.Config(init_rank=33).build()
    with pytest.raises(
        RecipeError, match=r"33 is above the smaller side of model.*Use at most 32"
    ):
        adapter.attach(Chronos2.tiny(), Setting())
