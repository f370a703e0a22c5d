"""Small networks whose exported constants are equal in the original only, or whose layers are narrow."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def learned(model: nn.Module) -> nn.Module:
    """Give a network weights and statistics as if it had been trained: none of them alike."""
    random = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            spread = torch.rand(tensor.shape, generator=random)
            tensor.copy_(0.5 + spread if name.endswith("var") else tensor + 0.2 * (spread - 0.5))
    return model.eval()


def convolution(c_in: int, c_out: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(c_in, c_out, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(c_out), nn.ReLU())


class ChunksAndNeck(nn.Module):
    """YOLO's parts: two chunks of one size whose slices share begins and sizes, and maps joined after upsampling
    with a norm of their own and, at the end, two equal reshapes."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.stem, self.down = convolution(in_channels, 16, stride=2), convolution(32, 32, stride=2)
        self.open, self.close = nn.ModuleList(), nn.ModuleList()
        self.inner = nn.ModuleList()
        for c_in, c_out in ((16, 32), (32, 32)):
            self.open.append(convolution(c_in, 32, 1))
            self.inner.append(convolution(16, 16))
            self.close.append(convolution(48, c_out, 1))
        self.norm, self.lateral = nn.BatchNorm2d(64), convolution(64, 16, 1)
        self.left, self.right = nn.Linear(16 * 64, 24), nn.Linear(16 * 64, 24)
        self.classifier = nn.Linear(48, num_classes)

    def chunks(self, x: Tensor, stage: int) -> Tensor:
        left, right = self.open[stage](x).chunk(2, 1)
        return self.close[stage](torch.cat([left, right, self.inner[stage](right) + right], 1))

    def forward(self, x: Tensor) -> Tensor:
        wide = self.chunks(self.stem(x), 0)
        deep = self.chunks(self.down(wide), 1)
        joined = torch.cat([functional.interpolate(deep, scale_factor=2.0), wide], 1)
        joined = functional.max_pool2d(self.lateral(self.norm(joined)), 2)
        halves = self.left(joined.flatten(1)), self.right((joined * 2).flatten(1))
        return self.classifier(torch.cat(halves, 1))


class TinyResidual(nn.Module):
    """A depthwise layer in a sum, and a squeeze."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.stem = convolution(in_channels, 32, stride=2)
        self.inner = nn.Sequential(convolution(32, 32, groups=32), convolution(32, 32, 1))
        self.squeeze, self.excite = nn.Conv2d(32, 16, 1), nn.Conv2d(16, 32, 1)
        self.classifier = nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.inner(x)
        x = x * self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return self.classifier(x.mean((2, 3)))


class TinyDetector(nn.Module):
    """Boxes in pixels and scores of three classes for every place, joined to one tensor (N, 7, places)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, 16, stride=2), convolution(16, 24, stride=2))
        self.boxes, self.scores = (
            nn.Sequential(convolution(24, 16), nn.Conv2d(16, channels, 1)) for channels in (4, 3)
        )
        self.register_buffer(
            "places", 4 * torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")).flatten(1)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        near, far = self.boxes(x).flatten(2).sigmoid().chunk(2, 1)
        boxes = torch.cat([self.places - 16 * near, self.places + 16 * far], 1) * 20.0
        return torch.cat([boxes, self.scores(x).flatten(2).sigmoid()], 1)


class JoinedEnds(nn.Module):
    """Two layers with norms and activations, joined at the end: what is joined is in float32, the layers are not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(3, 16, stride=2)
        self.left, self.right = convolution(16, 24), convolution(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return torch.cat([self.left(x), 50.0 * self.right(x)], 1)


class PaddedPool(nn.Module):
    """ResNet's stem: a maximum over padded maps, of which converters make a padding by minus infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, 16), nn.MaxPool2d(3, 2, 1))
        self.unclamped = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.MaxPool2d(3, 2, 1))
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.unclamped(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]


class NarrowSqueezes(nn.Module):
    """Inverted residuals with a channel shuffle, whose squeezes have 4, 3, 2 and 1 channels."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        squeezes = (4, 3, 2, 1)
        self.stem = convolution(in_channels, 8, stride=2)
        self.depthwise = nn.ModuleList(convolution(8, 8, groups=8) for _ in squeezes)
        self.squeeze = nn.ModuleList(nn.Conv2d(8, count, 1) for count in squeezes)
        self.excite = nn.ModuleList(nn.Conv2d(count, 8, 1) for count in squeezes)
        self.classifier = nn.Linear(8, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for depthwise, squeeze, excite in zip(self.depthwise, self.squeeze, self.excite, strict=True):
            y = depthwise(x)
            y = y * excite(squeeze(y.mean((2, 3), keepdim=True)).relu()).sigmoid()
            n, c, h, w = y.shape
            x = x + y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.classifier(x.mean((2, 3)))


class WideGroups(nn.Module):
    """A convolution with two groups of eight inputs each: it loses as much of either."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.stem, self.grouped = convolution(in_channels, 16, stride=2), convolution(16, 24, groups=2)
        self.classifier = nn.Linear(24, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.grouped(self.stem(x)).mean((2, 3)))


class Transformer(nn.Module):
    """Attention with five heads of width six on sixteen patches."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.patches, self.table = 5, nn.Conv2d(3, 24, 4, 4), nn.Parameter(torch.randn(1, 16, 24))
        self.norm, self.qkv, self.proj = nn.LayerNorm(24), nn.Linear(24, 3 * 5 * 6), nn.Linear(30, 24)
        self.head = nn.Linear(24, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.table
        b, n, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, n, 3, self.num_heads, 6).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q * 0.4) @ k.transpose(-1, -2)
        x = x + self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return self.head(x.mean(1))


class CalledTwice(nn.Module):
    """One convolution that is called twice."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.stem, self.again = nn.Conv2d(in_channels, 64, 3, 2, 1), nn.Conv2d(64, 64, 3, 1, 1)
        self.classifier = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        return self.classifier(self.again(self.again(x).relu()).relu().mean((2, 3)))


class ScaledTokens(nn.Module):
    """Tokens with a table of positions, that are normalised before linear layers and whose residuals are scaled.

    Converters fold all of these into the layers. Two heads are eight wide, and scores are divided by its root.
    """

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.embed = nn.Conv2d(3, 24, 8, 8), nn.Linear(24, 16)
        self.table = nn.Parameter(torch.randn(1, 16, 16))
        self.norms = nn.ModuleList([nn.LayerNorm(16), nn.LayerNorm(16)])
        self.wide = nn.ModuleList([nn.Linear(16, 32), nn.Linear(16, 48, bias=False)])
        self.narrow = nn.ModuleList([nn.Linear(32, 16), nn.Linear(48, 16)])
        self.scale = nn.Parameter(torch.rand(16) + 0.5)
        self.num_heads, self.qkv, self.attended = 2, nn.Linear(16, 48), nn.Linear(16, 16)
        self.classifier = nn.Linear(16, 10)
        for norm in self.norms:
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(self.patches(x).flatten(2).transpose(1, 2)) + self.table
        q, k, v = self.qkv(x).reshape(len(x), 16, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.attended(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        for norm, wide, narrow in zip(self.norms, self.wide, self.narrow, strict=True):
            x = x + narrow(functional.relu(wide(norm(x)))) * self.scale
        return self.classifier(x.mean(1))
