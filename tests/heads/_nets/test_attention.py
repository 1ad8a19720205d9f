"""Attention over tokens: a pool of one query, and queries that stand for classes."""

import torch

from contracts.batch import assert_near
from tsfm_adapt.backbones.base import Encoded
from tsfm_adapt.heads._nets.attention import AttentionPool, LabelQueries, SharedBlock
from tsfm_adapt.heads._pooling import flagged
from tsfm_adapt.heads.base import pooled


def encoded(seed=0):
    """Tokens of two windows, three channels; the last channel of the second shows nothing."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(2, 3, 5, 8, generator=generator)
    seen = torch.rand(2, 3, 5, generator=generator) < 0.7
    seen[:, :, 0] = True
    seen[1, 2] = False
    return Encoded(tokens * seen[..., None], seen)


def test_at_the_start_attention_is_the_mean_of_observed_tokens():
    found = encoded()
    pool = AttentionPool(8, "concat")
    assert_near(pool(flagged(found)), pooled(found, "mean").flatten(1))


def test_attention_moves_to_the_token_that_its_query_likes():
    found = encoded()
    pool = AttentionPool(8, "concat")
    token = found.tokens[0, 0, 0]
    with torch.no_grad():
        pool.query.copy_(1e3 * (token - token.mean()))
    assert_near(pool(flagged(found))[0, :8], token)


def test_attention_weighs_tokens_not_what_is_beside_them():
    """A channel's statistics are the same beside every token, and come out as they are."""
    found = encoded()
    tokens = flagged(found)
    beside = torch.randn(2, 3, 1, 4).expand(-1, -1, 5, -1) * found.token_observed[..., None]
    pool = AttentionPool(8, "concat")
    with torch.no_grad():
        pool.query.copy_(torch.randn(8))
    plain = pool(tokens).unflatten(1, (3, 8))
    wider = pool(torch.cat([tokens[..., :-1], beside, tokens[..., -1:]], dim=-1))
    wider = wider.unflatten(1, (3, 12))
    assert torch.equal(wider[..., :8], plain)
    assert_near(wider[..., 8:], beside[:, :, 0], relative=1e-6)


def test_a_class_is_the_mean_of_its_queries():
    network = LabelQueries(
        channels=2, width=8, classes=3, probes=2, heads=2, dropout=0.0, scale=1.0
    )
    flagged = torch.cat([torch.randn(4, 2, 5, 8), torch.ones(4, 2, 5, 1)], dim=-1)
    expected = network(flagged)
    assert expected.shape == (4, 3)
    with torch.no_grad():
        network.queries.copy_(network.queries.flip(1))
    assert_near(network(flagged), expected)
    with torch.no_grad():
        network.queries.copy_(network.queries.flip(0))
    assert_near(network(flagged), expected.flip(1))


def test_channels_count_by_their_embeddings_and_tokens_by_themselves():
    """The same embeddings make channels, and tokens in them, a set without an order."""
    network = LabelQueries(
        channels=2, width=8, classes=3, probes=2, heads=2, dropout=0.0, scale=1.0
    )
    flagged = torch.cat([torch.randn(4, 2, 5, 8), torch.ones(4, 2, 5, 1)], dim=-1)
    flagged[0, 1, 2:, -1] = 0
    swapped = flagged.flip(1, 2)
    assert (network(swapped) - network(flagged)).abs().max() > 1e-3
    with torch.no_grad():
        network.channel.copy_(network.channel[:1].expand(2, -1))
    assert_near(network(swapped), network(flagged))


def test_the_block_is_attention_of_many_heads():
    block = SharedBlock(8, 2, 0.0)
    torch_attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        torch_attention.in_proj_weight.copy_(
            torch.cat([block.query.weight, block.key.weight, block.value.weight])
        )
        torch_attention.in_proj_bias.copy_(
            torch.cat([block.query.bias, torch.randn(8), block.value.bias])
        )
        torch_attention.out_proj.load_state_dict(block.out.state_dict())
    queries, tokens = torch.randn(3, 8), torch.randn(2, 5, 8)
    seen = torch.rand(2, 5) < 0.7
    seen[:, 0] = True
    normal = block.norm_token(tokens)
    asked = block.norm_query(queries).expand(2, -1, -1)
    mixed = queries + torch_attention(asked, normal, normal, key_padding_mask=~seen)[0]
    expected = block.leave(block.enter(block.norm(mixed)).relu()).squeeze(-1)
    assert_near(block(queries, tokens, seen), expected)
