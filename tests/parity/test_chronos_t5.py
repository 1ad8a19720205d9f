"""Our Chronos-T5 says what `ChronosPipeline` says with the same weights; float32."""

import pytest
import torch

from contracts.batch import random_batch, roughened
from tsfm_adapt.backbones.chronos_t5 import ChronosT5

SHAPE = (2, 3)


@pytest.fixture(scope="module")
def backbone():
    return roughened(ChronosT5.tiny(seed=3))


def pipeline_of(backbone):
    from chronos import ChronosConfig, ChronosPipeline
    from chronos.chronos import ChronosModel

    settings = ChronosConfig(**backbone.model.config.chronos_config)
    return ChronosPipeline(settings.create_tokenizer(), ChronosModel(settings, backbone.model))


@pytest.fixture(scope="module")
def pipeline(backbone):
    return pipeline_of(backbone)


def with_nan(batch):
    """Rows as the pipeline takes them."""
    return batch.values.masked_fill(~batch.observed, float("nan")).flatten(0, 1)


def batch_of(samples=70, horizon=24):
    return random_batch(*SHAPE, samples=samples, horizon=horizon, missing=0.3, seed=samples)


def relative_error(actual, expected):
    """Largest difference over each series' largest magnitude."""
    scale = expected.abs().amax(dim=(-1, -2), keepdim=True)
    return ((actual - expected).abs() / scale.clamp(min=1e-12)).max().item()


def both(backbone, pipeline, batch, steps):
    """Paths (S, B, C, H) of ours and of the pipeline, from the same seed."""
    torch.manual_seed(7)
    expected = pipeline.predict(with_nan(batch), prediction_length=steps)
    torch.manual_seed(7)
    with torch.no_grad():
        actual = backbone.forecast(batch, steps).values
    return actual, expected.transpose(0, 1).unflatten(1, batch.values.shape[:2])


@pytest.mark.parametrize(
    ("samples", "steps"),  # the longest context is 128, a pass is 24
    [(1, 25), (5, 24), (70, 1), (70, 60), (120, 30), (150, 25)],
)
def test_paths_equal_those_of_the_pipeline_draw_by_draw(backbone, pipeline, samples, steps):
    actual, expected = both(backbone, pipeline, batch_of(samples), steps)
    assert relative_error(actual, expected) <= 1e-5


def test_paths_equal_those_of_the_pipeline_where_channels_are_missing_or_constant(
    backbone, pipeline
):
    batch = batch_of()
    batch.observed[0, 1] = False
    batch.observed[1] = False
    batch.values[0, 0] = 36.6
    batch.values[0, 2] = 0.0
    assert relative_error(*both(backbone, pipeline, batch, 30)) <= 1e-5


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0.6}, {"top_k": 5}, {"top_p": 0.7}, {"top_k": 0}],
    ids=lambda change: next(iter(change)),
)
def test_the_checkpoint_says_how_to_draw(change):
    model = roughened(ChronosT5.tiny(seed=3)).model
    model.config.chronos_config = model.config.chronos_config | change
    changed = ChronosT5(model, "tiny")
    actual, expected = both(changed, pipeline_of(changed), batch_of(), 24)
    assert relative_error(actual, expected) <= 1e-5


@pytest.mark.parametrize("samples", [1, 70, 150])
def test_tokens_equal_the_embeddings_of_the_pipeline(backbone, pipeline, samples):
    batch = batch_of(samples)
    embeddings, _ = pipeline.embed(with_nan(batch))
    encoded = backbone.encode(batch)
    expected = embeddings[:, :-1].unflatten(0, SHAPE)  # without EOS
    seen = encoded.token_observed
    assert relative_error(encoded.tokens.detach()[seen], expected[seen]) <= 1e-5


def upstream_tokens(pipeline, batch):
    """The model's inputs and labels as upstream's training script makes them."""
    ids, mask, scale = pipeline.tokenizer.context_input_transform(with_nan(batch))
    target = batch.target.masked_fill(~batch.target_observed, float("nan")).flatten(0, 1)
    labels, known = pipeline.tokenizer.label_input_transform(target, scale)
    labels[~known] = -100
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}, scale


def test_the_loss_and_its_gradients_equal_upstreams_own(backbone, pipeline):
    batch = batch_of()
    assert not batch.target_observed.all()
    inputs, _ = upstream_tokens(pipeline, batch)
    expected, actual = backbone.model(**inputs).loss, backbone.loss(batch)
    assert actual.item() == pytest.approx(expected.item(), rel=1e-6)
    parameters = list(backbone.network.parameters())
    theirs, ours = (torch.autograd.grad(loss, parameters) for loss in (expected, actual))
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


def test_a_short_target_costs_what_upstream_says_without_the_end_of_the_sentence(
    backbone, pipeline
):
    batch = batch_of()
    inputs, _ = upstream_tokens(pipeline, batch)
    inputs["labels"] = inputs["labels"][:, :10].contiguous()
    expected = backbone.model(**inputs).loss
    short = random_batch(*SHAPE, horizon=10)
    for name in ("values", "observed"):
        getattr(short, name).copy_(getattr(batch, name))
    short.target.copy_(batch.target[..., :10])
    short.target_observed.copy_(batch.target_observed[..., :10])
    assert backbone.loss(short).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("prediction", ["sampled", "expected"])
def test_gradients_are_those_of_the_expected_values_of_upstreams_logits(
    backbone, pipeline, prediction
):
    """Teacher-forced over the tokens that were fed back, one path a row."""
    batch = batch_of()
    mine = ChronosT5(backbone.model, "tiny", samples=3, prediction=prediction)
    torch.manual_seed(7)
    forecast = mine.forecast(batch, 20)
    ids, mask, scale = pipeline.tokenizer.context_input_transform(with_nan(batch))
    centers = pipeline.tokenizer.centers
    if prediction == "sampled":
        paths = forecast.values.detach().flatten(1, 2).transpose(0, 1)  # (rows, S, h)
        scaled = (paths / scale[:, None, None]).flatten(0, 1)
        bins = (scaled[..., None] - centers).abs().argmin(-1)
        tokens = bins + 3
        ids, mask = ids.repeat_interleave(3, 0), mask.repeat_interleave(3, 0)
        unit = scale.repeat_interleave(3)[:, None]
        actual = forecast.values.transpose(0, 1).transpose(1, 2)
    else:
        tokens = torch.zeros(len(ids), 0, dtype=torch.long)
        boundaries = (centers[1:] + centers[:-1]) / 2
        for _ in range(20):
            start = torch.cat([torch.zeros(len(ids), 1, dtype=torch.long), tokens], dim=1)
            with torch.no_grad():
                logits = backbone.model(
                    input_ids=ids, attention_mask=mask, decoder_input_ids=start
                ).logits[:, -1]
            mean = logits[:, 3:].softmax(-1) @ centers
            found = (mean[:, None] >= boundaries).sum(-1, keepdim=True) + 3
            tokens = torch.cat([tokens, found], dim=1)
        unit = scale[:, None]
        actual = forecast.values[:, :, 10]  # the median
    start = torch.cat([torch.zeros(len(tokens), 1, dtype=torch.long), tokens[:, :-1]], dim=1)
    logits = backbone.model(input_ids=ids, attention_mask=mask, decoder_input_ids=start).logits
    probabilities = logits[..., 3:].softmax(-1)
    expected = probabilities @ centers * unit

    parameters = list(backbone.network.parameters())
    ours = torch.autograd.grad(actual.sum(), parameters)
    theirs = torch.autograd.grad(expected.sum(), parameters, retain_graph=True)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() <= 1e-4 * other.abs().max()

    if prediction == "expected":  # and the quantiles are those of upstream's distribution
        reached = probabilities.detach().double().cumsum(-1)
        width = (centers[1] - centers[0]).double()
        edges = torch.cat([centers.double() - width / 2, centers[-1:].double() + width / 2])
        for row in range(len(ids)):
            for step in (0, 19):
                known = torch.cat([torch.zeros(1).double(), reached[row, step]])
                at = torch.searchsorted(known, torch.tensor([0.1, 0.5, 0.9]).double())
                share = (torch.tensor([0.1, 0.5, 0.9]) - known[at - 1]) / (
                    known[at] - known[at - 1]
                )
                value = (edges[at - 1] + share * width) * scale[row]
                found = forecast.quantiles((0.1, 0.5, 0.9)).flatten(0, 1)[row, :, step]
                assert (found - value).abs().max() <= 1e-4 * 15 * scale[row]
