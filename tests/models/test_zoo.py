from __future__ import annotations

import pytest
import torch
from torch import nn

from amc_hw.errors import UsageError
from amc_hw.models.mobilenet import mobilenet_v1, mobilenet_v2
from amc_hw.models.zoo import build_model, default_image_size

# Without the leading 3, from AMC's published MobileNetV1 (50 % of the MACs) and V2 (70 %).
AMC_V1 = (24, 48, 96, 80, 192, 200, 328, 352, 368, 360, 328, 400, 736, 752)
AMC_V2 = (24, 16, 72, 24, 104, 24, 104, 32, 136, 32, 136, 32, 136, 64, 272, 64, 272, 64, 272, 64, 272, 96)
AMC_V2 += (408, 96, 400, 96, 400, 160, 712, 160, 720, 160, 712, 248, 848)


def mega_macs(model: nn.Module, side: int) -> float:
    macs = 0

    def count(module: nn.Conv2d | nn.Linear, _: object, output: torch.Tensor) -> None:
        nonlocal macs
        macs += output.numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, side, side))
    return macs / 1e6


def parameters(model: nn.Module) -> int:
    return sum(each.numel() for each in model.parameters())


@pytest.mark.parametrize(
    ("name", "macs", "millions"),
    [  # from the papers, except the CIFAR shapes of the MobileNets, which have no standard
        ("mobilenet_v1", 568.7, 4.23),
        ("mobilenet_v1_0.5", 149.5, 1.33),
        ("mobilenet_v2", 300.8, 3.50),
        ("plain20", 40.6, 0.27),
        ("resnet20", 40.6, 0.27),
        ("resnet56", 125.5, 0.85),
        ("resnet110", 252.9, 1.73),
    ],
)
def test_known_networks_have_the_published_size(name: str, macs: float, millions: float) -> None:
    model = build_model(name, 1000 if "mobilenet" in name else 10)
    assert mega_macs(model, default_image_size(name)) == pytest.approx(macs, rel=0.005)
    assert parameters(model) / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.mark.parametrize("name", ["mobilenet_v1_cifar_0.25", "mobilenet_v2_cifar_0.5", "plain20", "resnet32"])
def test_cifar_networks_take_small_images_of_one_channel(name: str) -> None:
    model = build_model(name, 7, in_channels=1)
    assert default_image_size(name) == 32
    logits = model(torch.randn(2, 1, 32, 32))
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(each.grad is not None for each in model.parameters())


def test_cifar_mobilenets_keep_more_resolution() -> None:
    images = torch.zeros(1, 3, 32, 32)
    v1, v2 = (build_model(f"mobilenet_{each}_cifar", 10).eval() for each in ("v1", "v2"))
    assert v1.features(v1.conv1(images)).shape[2:] == (2, 2)
    assert v2.features(images).shape[2:] == (4, 4)


def test_amc_channel_lists() -> None:
    assert mega_macs(mobilenet_v1(1000, channels=AMC_V1), 224) == pytest.approx(293.9, rel=0.01)
    v2 = mobilenet_v2(1000, channels=AMC_V2)
    assert mega_macs(v2, 224) == pytest.approx(0.7 * 300.8, rel=0.02)
    assert v2.features[17].conv[6].out_channels == 248
    with pytest.raises(UsageError, match="needs 14 numbers"):
        mobilenet_v1(1000, channels=AMC_V1[1:])


def test_the_seed_decides_the_weights_and_nothing_else() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (build_model("resnet20", 10, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.conv1.weight, same.conv1.weight)
    assert not torch.equal(one.conv1.weight, other.conv1.weight)


def test_option_a_shortcut_puts_the_input_in_the_middle() -> None:
    x = torch.randn(2, 16, 8, 8)
    y = build_model("resnet20", 10).layer2[0].shortcut(x)
    assert y.shape == (2, 32, 4, 4)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert y[:, :8].count_nonzero() == y[:, 24:].count_nonzero() == 0


def test_a_plain_network_has_no_shortcut() -> None:
    plain, residual = (build_model(name, 10).layer1[0].eval() for name in ("plain20", "resnet20"))
    residual.load_state_dict(plain.state_dict())
    for block in (plain, residual):
        nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 16, 8, 8)
    assert plain(x).count_nonzero() == 0
    assert torch.equal(residual(x), x)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet65", "did you mean 'resnet56'"),
        ("resnet20_0.5", "did you mean 'resnet20'"),
        ("mobilenet_v1_0", "width of 'mobilenet_v1_0' must be"),
        ("mobilenet_v1_99", "width of 'mobilenet_v1_99' must be"),
        ("torchvision:mobilnet_v2", "did you mean 'torchvision:mobilenet_v2'"),
        ("", "unknown model"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    for ask in (lambda: build_model(name, 10), lambda: default_image_size(name)):
        with pytest.raises(UsageError, match=message):
            ask()


def test_torchvision() -> None:
    model = build_model("torchvision:shufflenet_v2_x0_5", 6).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 6)
    assert default_image_size("torchvision:efficientnet_b1") == 240
    with pytest.raises(UsageError, match="colour"):
        build_model("torchvision:shufflenet_v2_x0_5", 6, in_channels=1)
