"""What every backbone guarantees that was pretrained to fill in hidden samples.

Inherited beside `ForecasterContract` or `EncoderContract`.
"""

from dataclasses import replace

import pytest
import torch

from contracts.batch import (
    LEVELS,
    assert_near,
    random_batch,
    reversed_in_time,
    select,
    with_garbage,
)
from contracts.encoder import HARD, hard
from contracts.through import Acting, difference
from tsfm_adapt.backbones.base import PLAIN, Reconstructor


class ReconstructorContract:
    """Beside the laws of encoders; `backbone` is theirs."""

    @pytest.fixture
    def hidden(self):
        """A tenth of the samples one by one, and a block of each window's second channel."""
        batch = random_batch()
        chance = torch.rand(batch.values.shape, generator=torch.Generator().manual_seed(8))
        hidden = chance < 0.1
        hidden[:, 1, 20:45] = True
        return hidden

    def reconstructed(self, backbone, batch, hidden, through=PLAIN):
        torch.manual_seed(0)
        return backbone.reconstruct(batch, hidden, through).quantiles(LEVELS)

    def test_it_says_that_it_can(self, backbone):
        assert "impute" in backbone.spec.native_tasks
        assert isinstance(backbone, Reconstructor)

    @pytest.mark.parametrize("samples", [1, 5, 70, "longest"])
    def test_every_context_sample_is_estimated(self, backbone, samples):
        samples = backbone.spec.max_context if samples == "longest" else samples
        batch = random_batch(windows=2, samples=samples)
        hidden = torch.zeros_like(batch.observed)
        estimate = self.reconstructed(backbone, batch, hidden)
        assert estimate.shape == (2, 4, len(LEVELS), samples)
        assert estimate.isfinite().all()

    def test_what_is_hidden_or_not_measured_cannot_change_the_estimate(self, backbone, hidden):
        batch = random_batch()
        expected = self.reconstructed(backbone, batch, hidden)
        secret = replace(batch, values=batch.values.where(~hidden, 9999.0))
        unmeasured = replace(batch, observed=batch.observed & ~hidden)
        nothing = torch.zeros_like(hidden)
        for other, hiding in (
            (secret, hidden),
            (with_garbage(batch), hidden),
            (unmeasured, nothing),
        ):
            assert torch.equal(self.reconstructed(backbone, other, hiding), expected)
        turned = reversed_in_time(batch)
        assert difference(self.reconstructed(backbone, turned, hidden), expected) > 1e-3

    @pytest.mark.parametrize("trouble", HARD)
    def test_estimates_and_gradients_are_finite_with(self, backbone, trouble):
        batch = hard(trouble)
        hidden = torch.zeros_like(batch.observed)
        hidden[..., ::3] = True
        estimate = self.reconstructed(backbone, batch, hidden)
        parameters = list(backbone.network.parameters())
        gradients = torch.autograd.grad(estimate.sum(), parameters, allow_unused=True)
        assert estimate.isfinite().all()
        assert all(g.isfinite().all() for g in gradients if g is not None)

    def test_the_estimate_follows_an_affine_change_of_units(self, backbone, hidden):
        batch = random_batch()
        changed = select(batch)
        changed.values[:, 1] = 3 * batch.values[:, 1] + 5
        expected = self.reconstructed(backbone, batch, hidden)
        expected[:, 1] = 3 * expected[:, 1] + 5
        assert_near(self.reconstructed(backbone, changed, hidden), expected, relative=1e-4)

    def test_prompts_made_from_the_batch_cannot_tell_what_is_hidden(self, backbone, hidden):
        batch = random_batch()
        direction = torch.linspace(-1, 1, backbone.spec.width)

        def prompt(batch, layer):
            level = batch.values.where(batch.observed, 0.0).mean(-1, keepdim=True)
            return (level / 100 * direction)[:, :, None] if layer == 0 else None

        secret = replace(batch, values=batch.values.where(~hidden, 9999.0))
        expected, other = (
            self.reconstructed(backbone, each, hidden, Acting(prompt)) for each in (batch, secret)
        )
        assert torch.equal(other, expected)

    def test_prompts_reach_the_estimate(self, backbone, hidden):
        batch = random_batch()
        prompts = torch.randn(3, backbone.spec.width, generator=torch.Generator().manual_seed(5))
        through = Acting(lambda batch, layer: prompts if layer == 0 else None)
        plain = self.reconstructed(backbone, batch, hidden)
        prompted = self.reconstructed(backbone, batch, hidden, through)
        assert prompted.shape == plain.shape
        assert difference(prompted, plain) > 1e-5
