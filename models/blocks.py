"""Blocks that several networks of the zoo share.

The networks' eager peak memory depends on which local variables their `forward` keeps, so each
`forward` here binds the variables that the published code binds, and no others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srprof.errors import InputError

Activation = Callable[[Tensor], Tensor]
Form = Literal["inference", "train"]
BlockName = Literal["erb", "rb", "pb"]


def check_scale(scale: int, supported: Sequence[int] = (2, 3, 4)) -> int:
    """The scale itself, if the network exists at it.

    Raises:
        InputError: it does not; the message says which there are.
    """
    if scale not in supported:
        there = ", ".join(map(str, supported))
        raise InputError(f"scale={scale!r} does not exist for this network; it has {there}")
    return scale


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a hyper-parameter that is none of its choices.

    Raises:
        InputError: naming them.
    """
    if value not in choices:
        there = " or ".join(map(repr, choices))
        raise InputError(f"{name}={value!r} does not exist; write {there}")


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """3x3 convolution with bias that keeps the image's size."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)


def conv1x1(in_channels: int, out_channels: int) -> nn.Conv2d:
    """1x1 convolution with bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=1)


def named(**children: nn.Module) -> nn.Sequential:
    """Modules called one after the other, under the names that public checkpoints have."""
    return nn.Sequential(OrderedDict(children))


def pixel_shuffle_tail(channels: int, scale: int, out_channels: int = 3) -> nn.Sequential:
    """Upsampling in one step: 3x3 convolution to `out_channels * scale**2`, then pixel shuffle.

    Shapes: (N, channels, H, W) to (N, out_channels, scale*H, scale*W).
    """
    return nn.Sequential(conv3x3(channels, out_channels * scale**2), nn.PixelShuffle(scale))


def step_upsampler(
    channels: int, scale: int, act: Callable[[], nn.Module] | None = None
) -> nn.Sequential:
    """Upsampling by 3 at once, or by 2 once or twice, each a 3x3 convolution and pixel shuffle.

    Shapes: (N, channels, H, W) to (N, channels, scale*H, scale*W).

    Args:
        act: makes the activation between the two, if there is one.
    """
    layers: list[nn.Module] = []
    for factor in (3,) if scale == 3 else (2,) * (scale // 2):
        layers.append(conv3x3(channels, factor**2 * channels))
        layers += [act()] if act else []
        layers.append(nn.PixelShuffle(factor))
    return nn.Sequential(*layers)


class ESA(nn.Module):
    """Enhanced spatial attention of RFDN (Liu et al., ECCVW 2020): one weight per position.

    Shapes: (N, C, H, W) to the same; H and W at least 15, for the strided convolution and the
    7x7 pooling behind it.
    """

    def __init__(self, channels: int, mid_channels: int) -> None:
        super().__init__()
        self.conv1 = conv1x1(channels, mid_channels)
        self.conv_f = conv1x1(mid_channels, mid_channels)
        self.conv_max = conv3x3(mid_channels, mid_channels)
        self.conv2 = nn.Conv2d(mid_channels, mid_channels, kernel_size=3, stride=2)
        self.conv3 = conv3x3(mid_channels, mid_channels)
        self.conv3_ = conv3x3(mid_channels, mid_channels)
        self.conv4 = conv1x1(mid_channels, channels)
        self.sigmoid = nn.Sigmoid()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        c1_ = self.conv1(x)
        c1 = self.conv2(c1_)
        v_max = F.max_pool2d(c1, kernel_size=7, stride=3)
        v_range = self.relu(self.conv_max(v_max))
        c3 = self.relu(self.conv3(v_range))
        c3 = self.conv3_(c3)
        c3 = F.interpolate(c3, x.shape[-2:], mode="bilinear", align_corners=False)
        cf = self.conv_f(c1_)
        c4 = self.conv4(c3 + cf)
        m = self.sigmoid(c4)
        return torch.mul(x, m)


class FDB(nn.Module):
    """Feature distillation in three steps, as in RFDN but without residual sums.

    Shapes: (N, channels, H, W) to the same.

    Args:
        distilled: channels put aside at each step.
        esa: the attention at the end, which keeps the shape.
        conv: makes a 3x3 convolution from its numbers of channels.
    """

    def __init__(
        self,
        channels: int,
        distilled: int,
        esa: nn.Module,
        conv: Callable[[int, int], nn.Module] = conv3x3,
    ) -> None:
        super().__init__()
        self.c1_d = conv1x1(channels, distilled)
        self.c1_r = conv(channels, channels)
        self.c2_d = conv1x1(channels, distilled)
        self.c2_r = conv(channels, channels)
        self.c3_d = conv1x1(channels, distilled)
        self.c3_r = conv(channels, channels)
        self.c4 = conv(channels, distilled)
        self.act = nn.LeakyReLU(0.05, inplace=True)
        self.c5 = conv1x1(4 * distilled, channels)
        self.esa = esa

    def forward(self, input: Tensor) -> Tensor:
        distilled_c1 = self.act(self.c1_d(input))
        r_c1 = self.act(self.c1_r(input))

        distilled_c2 = self.act(self.c2_d(r_c1))
        r_c2 = self.act(self.c2_r(r_c1))

        distilled_c3 = self.act(self.c3_d(r_c2))
        r_c3 = self.act(self.c3_r(r_c2))

        r_c4 = self.act(self.c4(r_c3))

        out = torch.cat([distilled_c1, distilled_c2, distilled_c3, r_c4], dim=1)
        return self.esa(self.c5(out))


class ShortcutBlock(nn.Module):
    """`x + sub(x)`."""

    def __init__(self, sub: nn.Module) -> None:
        super().__init__()
        self.sub = sub

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sub(x)


class PreActivation(nn.Module):
    """Batch norm, ReLU, convolution: (N, Cin, H, W) to (N, Cout, H, W)."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(convolution.in_channels)
        self.conv = convolution

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.norm(x), inplace=True))


def channel_weights(channels: int, mid_channels: int) -> nn.Sequential:
    """Weights of channels from one number each: (N, C, 1, 1) to the same, in 0..1."""
    return nn.Sequential(
        conv1x1(channels, mid_channels),
        nn.ReLU(inplace=True),
        conv1x1(mid_channels, channels),
        nn.Sigmoid(),
    )


class CCA(nn.Module):
    """Contrast-aware channel attention of IMDN (Hui et al., ACM MM 2019): one weight per channel.

    Shapes: (N, C, H, W) to the same.
    """

    def __init__(self, channels: int, mid_channels: int) -> None:
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv_du = channel_weights(channels, mid_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = _contrast(x) + self.avg_pool(x)
        y = self.conv_du(y)
        return x * y


def _contrast(x: Tensor) -> Tensor:
    """Standard deviation over H and W, step by step as the published code has it."""
    positions = x.shape[2] * x.shape[3]
    mean = x.sum(3, keepdim=True).sum(2, keepdim=True) / positions
    variance = (x - mean).pow(2).sum(3, keepdim=True).sum(2, keepdim=True) / positions
    return variance.pow(0.5)


# -- the paper's residual blocks (Tables 1 and 2) -------------------------------------------------


def leaky_relu(x: Tensor) -> Tensor:
    """FMEN's activation.

    Its authors call one global module, which the challenge's counter does not see; a functional
    call is the same to it.
    """
    return F.leaky_relu(x, 0.1)


#: What is wrong with a checkpoint of the training form in a network of the inference form.
TRAINING_FORM = (
    "the checkpoint is the training form, and the network is in inference form: merge it first, "
    "`srprof merge CHECKPOINT -o OUT`, or build the network with form='train'"
)


class RepConv(nn.Module):
    """What an RRRB is after merging: one 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rep_conv = conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.rep_conv(x)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + "expand_conv.weight" in state_dict:
            raise InputError(TRAINING_FORM)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class RRRB(nn.Module):
    """Residual-in-residual block that merges into one 3x3 convolution (paper, Section 3.3).

    Shapes: (N, C, H, W) to the same. 1x1 expansion, 3x3 convolution with a skip around it, 1x1
    reduction, a skip around all. The border is padded with the expansion's bias, which is what
    the expansion makes of zeros; so the merged convolution, which pads with zeros, is the same
    there too.
    """

    def __init__(self, channels: int, ratio: int = 2) -> None:
        super().__init__()
        self.expand_conv = conv1x1(channels, ratio * channels)
        self.fea_conv = nn.Conv2d(ratio * channels, ratio * channels, kernel_size=3)
        self.reduce_conv = conv1x1(ratio * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out = self.expand_conv(x)
        out_identity = out
        assert self.expand_conv.bias is not None
        out = pad_by_one(out, self.expand_conv.bias)
        out = self.fea_conv(out) + out_identity
        out = self.reduce_conv(out)
        out += x
        return out

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if prefix + "rep_conv.weight" in state_dict:
            raise InputError(
                "the checkpoint is merged, the inference form, and the network is in training "
                "form: build it with form='inference'"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)


def pad_by_one(x: Tensor, values: Tensor) -> Tensor:
    """Pad H and W by one on each side with a value per channel: (N, C, H+2, W+2)."""
    border = values.view(1, -1, 1, 1)
    out = F.pad(x, (1, 1, 1, 1), "constant", 0)
    out[:, :, 0:1, :] = border
    out[:, :, -1:, :] = border
    out[:, :, :, 0:1] = border
    out[:, :, :, -1:] = border
    return out


class ERB(nn.Module):
    """Enhanced residual block: RRRB, activation, RRRB; merged, no skip is left.

    Shapes: (N, C, H, W) to the same.
    """

    def __init__(
        self, channels: int, form: Form = "inference", act: Activation = leaky_relu
    ) -> None:
        super().__init__()
        convolution = RRRB if form == "train" else RepConv
        self.conv1 = convolution(channels)
        self.conv2 = convolution(channels)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        out = self.act(out)
        return self.conv2(out)


class PlainBlock(nn.Module):
    """Two 3x3 convolutions with an activation between (PB): (N, C, H, W) to the same."""

    def __init__(self, channels: int, act: Activation = leaky_relu) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels)
        self.conv2 = conv3x3(channels, channels)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x)
        out = self.act(out)
        return self.conv2(out)


class ResidualBlock(PlainBlock):
    """`x + ` the plain block (RB)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x


def make_block(
    block: BlockName, channels: int, form: Form = "inference", act: Activation = leaky_relu
) -> nn.Module:
    """One of the blocks that the paper's Table 1 exchanges; only an ERB differs in training.

    Raises:
        InputError: there is no such block or form.
    """
    check_choice("block", block, ("erb", "rb", "pb"))
    check_choice("form", form, ("inference", "train"))
    if block == "erb":
        return ERB(channels, form, act)
    return (ResidualBlock if block == "rb" else PlainBlock)(channels, act)


# -- colour ---------------------------------------------------------------------------------------


def mean_shift(sign: int, rgb_range: float, frozen: bool = True) -> nn.Conv2d:
    """DIV2K's mean colour subtracted (sign -1) or added (+1), as the 1x1 convolution of EDSR."""
    convolution = conv1x1(3, 3)
    mean = torch.tensor([0.4488, 0.4371, 0.4040])
    assert convolution.bias is not None
    with torch.no_grad():
        convolution.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
        convolution.bias.copy_(sign * rgb_range * mean)
    return convolution.requires_grad_(not frozen)


def enlarge(x: Tensor, scale: int) -> Tensor:
    """Bicubic: (N, C, H, W) to (N, C, scale*H, scale*W)."""
    if scale == 1:
        return x
    return F.interpolate(x, scale_factor=scale, mode="bicubic", align_corners=False)


class LumaNetwork(nn.Module):
    """A network for luma alone; a colour image keeps its chroma, enlarged by bicubic.

    Shapes: (N, 1, H, W) to (N, 1, scale*H, scale*W), the network itself; or RGB in 0..1,
    (N, 3, H, W) to (N, 3, scale*H, scale*W).
    """

    scale: int

    def enhance(self, luma: Tensor) -> Tensor:
        """(N, 1, H, W) to (N, 1, scale*H, scale*W)."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[1] == 1:
            return self.enhance(image)
        enlarged = enlarge(image, self.scale)
        # the same change of R, G and B changes luma, by 219/255 of it, and no chroma
        return enlarged + (self.enhance(_luma(image)) - _luma(enlarged)) * (255 / 219)


def _luma(rgb: Tensor) -> Tensor:
    """Y of BT.601 in 16/255..235/255, as the field's scripts have it from MATLAB."""
    red, green, blue = torch.split(rgb, 1, dim=1)
    return (65.481 * red + 128.553 * green + 24.966 * blue + 16) / 255
