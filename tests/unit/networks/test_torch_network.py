"""The layers of a network in torch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from nasc.networks.torch_network import depthwise


class _Depthwise(nn.Module):
    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(channels, size, generator=generator))
        self.bias = nn.Parameter(torch.randn(channels, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return depthwise(x, self.weight, self.bias)


def test_an_exported_depthwise_convolution_is_shifted_products() -> None:
    module = _Depthwise(6, 5).eval().requires_grad_(False)
    x = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(2))
    exported = torch.export.export(
        module, (x,), dynamic_shapes=({1: torch.export.Dim("seq_len", max=64)},)
    )
    assert "conv" not in exported.graph_module.code
    for seq_len in (2, 9, 17):
        x = torch.randn(1, seq_len, 6, generator=torch.Generator().manual_seed(seq_len))
        x = x.expand(2, -1, -1)
        want = functional.conv1d(
            x.transpose(1, 2), module.weight[:, None], module.bias, padding=2, groups=6
        ).transpose(1, 2)
        torch.testing.assert_close(module(x), want)
        torch.testing.assert_close(exported.module()(x), want)
