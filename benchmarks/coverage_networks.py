"""The networks of coverage.py by name, and how each is built with random weights at its smallest image size."""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from typing import Any

import torch
from coverage_nets import OWN
from support_table import calibrate_norms
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

SIDES = (64, 96, 112, 128)  # tried before a network's own; 112 is for patches of 14
CALIBRATION = 8  # images
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
TIMM = [
    "botnet26t_256",
    "cait_xxs24_224",
    "coat_lite_tiny",
    "coatnet_pico_rw_224",
    "convmixer_768_32",
    "convnext_atto",
    "crossvit_tiny_240",
    "cs3darknet_focus_s",
    "davit_tiny",
    "dla46_c",
    "dpn48b",
    "edgenext_xx_small",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "efficientvit_b0",
    "efficientvit_m0",
    "ese_vovnet19b_slim_dw",
    "eva02_tiny_patch14_224",
    "fasternet_t0",
    "fastvit_t8",
    "focalnet_tiny_srf",
    "gcvit_xxtiny",
    "ghostnet_100",
    "hgnetv2_b0",
    "hiera_tiny_224",
    "hrnet_w18_small",
    "inception_next_atto",
    "levit_128s",
    "mambaout_femto",
    "mixer_s32_224",
    "mixnet_s",
    "mobilenetv4_conv_small",
    "mobileone_s0",
    "mobilevit_xxs",
    "mvitv2_tiny",
    "nest_tiny",
    "nf_regnet_b0",
    "pit_ti_224",
    "poolformer_s12",
    "pvt_v2_b0",
    "regnetx_002",
    "repghostnet_050",
    "repvgg_a0",
    "repvit_m0_9",
    "res2net50_14w_8s",
    "resnest14d",
    "resnetv2_50",
    "rexnet_100",
    "selecsls42b",
    "shvit_s1",
    "skresnet18",
    "starnet_s1",
    "swiftformer_xs",
    "swinv2_tiny_window8_256",
    "tiny_vit_5m_224",
    "twins_svt_small",
    "visformer_tiny",
    "vit_tiny_patch16_224",
    "xception41",
    "xcit_nano_12_p16_224",
]
SMP = ["Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "PAN", "DeepLabV3Plus", "UPerNet", "Segformer"]
YOLO = [f"{version}n{task}" for version in ("yolov8", "yolo11", "yolo26") for task in ("", "-seg", "-pose")]


PACKAGES = {"smp": "segmentation_models_pytorch", "timm": "timm", "ultralytics": "ultralytics"}


def preload(names: list[str]) -> None:
    """Import what networks need, where it is installed, so that processes that are forked have it."""
    needed = [module for package, module in PACKAGES.items() if any(name.startswith(package) for name in names)]
    for module in ["torch_pruning", *needed]:
        with suppress(ImportError):
            importlib.import_module(module)


def all_names() -> list[str]:
    """Return every network of the list, as PACKAGE:NAME."""
    from torchvision import models

    torchvision = [*models.list_models(module=models), *models.list_models(module=models.segmentation)]
    packages = {"own": OWN, "ultralytics": YOLO, "smp": SMP, "timm": TIMM, "torchvision": torchvision}
    return [f"{package}:{name}" for package, names in packages.items() for name in names]


def build(name: str) -> tuple[nn.Module, Tensor]:
    """Return a network with random weights that hide nothing, and an input of the smallest size that it takes.

    Raises:
        ImportError: its package is not installed.
        Exception: whatever its package raises where it does not run at any size.
    """
    torch.manual_seed(0)
    package, _, bare = name.partition(":")
    if package == "own":
        kind, shape = OWN[bare]
        return prepared(kind(), torch.rand(1, *shape))
    own = own_side(package, bare)
    for side in [side for side in SIDES if side < own]:
        try:
            return prepared(built(package, bare, side), torch.rand(1, 3, side, side))
        except ImportError:
            raise
        except Exception:  # whatever a network raises that is too small an image for it
            continue
    return prepared(built(package, bare, own), torch.rand(1, 3, own, own))


def own_side(package: str, name: str) -> int:
    if package != "timm":
        return 224
    import timm

    config = timm.get_pretrained_cfg(name)
    return 224 if config is None else int(config.input_size[-1])


def built(package: str, name: str, side: int) -> nn.Module:
    if package == "torchvision":
        from torchvision import models

        extra: dict[str, Any] = {"weights_backbone": None} if name in models.list_models(models.segmentation) else {}
        if name in ("googlenet", "inception_v3"):
            extra = {"aux_logits": False, "init_weights": False}
        return models.get_model(name, weights=None, **extra, **({"image_size": side} if name[:4] == "vit_" else {}))
    if package == "timm":
        import timm

        try:
            return timm.create_model(name, img_size=side)
        except TypeError:  # most take images of any size, and do not ask
            return timm.create_model(name)
    if package == "smp":
        import segmentation_models_pytorch

        encoder = "mit_b0" if name == "Segformer" else "resnet18"
        return getattr(segmentation_models_pytorch, name)(encoder, encoder_weights=None, classes=4)
    os.environ["YOLO_OFFLINE"] = "1"
    from ultralytics import YOLO as Yolo

    return Yolo(f"{name}.yaml", verbose=False).model


def prepared(model: nn.Module, example: Tensor) -> tuple[nn.Module, Tensor]:
    """Return a network in evaluation mode in which every parameter has an effect, with its example."""
    model.eval().requires_grad_(True)
    with torch.no_grad():
        shake(model)
        calibrate_norms(model, noise(example, CALIBRATION))
        model(example)
    return model, example


def noise(example: Tensor, images: int, seed: int = 0) -> Tensor:
    """Return so many random images of an example's shape: of one alone, norms of small maps have no statistics."""
    return torch.randn(images, *example.shape[1:], generator=torch.Generator().manual_seed(seed))


def shake(model: nn.Module) -> None:
    """Give random values to what starts constant or close to zero: behind it, errors would not show in the output."""
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            constant = parameter.numel() > 1 and float(parameter.std()) < 1e-3
            if not isinstance(module, NORMS) and not constant:
                continue
            if name.endswith("bias"):
                parameter.uniform_(-0.5, 0.5)
            elif parameter.numel() == max(parameter.shape):  # of norms, and of layer scales
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
