"""One vector a window from one a channel."""

import torch

from tsfm_adapt.heads._nets.channels import merged


def test_channels_that_show_nothing_do_not_draw_the_mean_to_zero():
    parts = torch.tensor([[[2.0], [4.0], [0.0]], [[0.0], [0.0], [0.0]]])
    shown = torch.tensor([[True, True, False], [False, False, False]])
    assert merged(parts, shown, "mean").tolist() == [[3.0], [0.0]]
    assert merged(parts, shown, "concat").tolist() == [[2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]


def test_the_mean_is_that_of_channels_that_show_something_in_any_order():
    parts, shown = torch.randn(4, 3, 5), torch.ones(4, 3, dtype=torch.bool)
    assert torch.allclose(merged(parts, shown, "mean"), parts.mean(1))
    order = [2, 0, 1]
    assert torch.allclose(merged(parts[:, order], shown, "mean"), parts.mean(1))
    assert torch.equal(merged(parts, shown, "concat").unflatten(1, (3, 5)), parts)
