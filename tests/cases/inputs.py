"""Calls, dtypes and devices as people have them."""

from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F
from torch import nn


class DictInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.image, self.mask = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(1, 8, 3, 1, 1)

    def forward(self, batch, scale: float = 1.0):
        return {
            "sr": F.pixel_shuffle(self.image(batch["lq"]) * scale + self.mask(batch["mask"]), 2)
        }


class Video(nn.Module):
    """B x T x C x H x W, as every video network takes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 1, 1)

    def forward(self, x):
        return self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class OwnHalf(nn.Module):
    """Half precision inside, float32 outside."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 1, 1).half()

    def forward(self, x):
        return self.conv(x.half()).float()


class Warp(nn.Module):
    """Flow warping: the grid goes to the GPU where the image is there."""

    def __init__(self):
        super().__init__()
        self.flow, self.tail = nn.Conv2d(3, 2, 3, 1, 1), nn.Conv2d(3, 12, 3, 1, 1)

    def forward(self, x):
        flow = self.flow(x)
        b, _, h, w = x.shape
        gy, gx = torch.meshgrid(torch.arange(h).float(), torch.arange(w).float(), indexing="ij")
        grid = torch.stack((gx, gy), 0)[None].expand(b, -1, -1, -1)
        if x.is_cuda:
            grid = grid.cuda()
        v = grid + flow
        v = torch.stack((2 * v[:, 0] / (w - 1) - 1, 2 * v[:, 1] / (h - 1) - 1), -1)
        return F.pixel_shuffle(self.tail(F.grid_sample(x, v, align_corners=True)), 2)


class BuiltOnGpu(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, 1, 1).cuda()

    def forward(self, x):
        return self.a(x) * 2


class Threads(nn.Module):
    """A forward that works in threads: none of its convolutions may be lost without a word."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 8, 3, 1, 1) for _ in range(2))

    def forward(self, x):
        with ThreadPoolExecutor(2) as pool:
            return sum(pool.map(lambda conv: conv(x), self.convs))


@torch.library.custom_op("srprofcases::double", mutates_args=())
def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


class CustomOp(nn.Module):
    """An operator without a kernel for meta tensors."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 1, 1)

    def forward(self, x):
        return double(self.conv(x))


class RefusesInTrain(nn.Module):
    """Fuses its branches when it is put in evaluation mode, as re-parameterised networks do."""

    def __init__(self):
        super().__init__()
        self.conv, self.alpha = nn.Conv2d(3, 3, 3, 1, 1), nn.Parameter(torch.rand(1))

    def train(self, mode: bool = True):
        super().train(mode)
        if not mode:
            d = self.alpha.get_device()
            self.conv.weight = nn.Parameter(
                self.conv.weight * (torch.ones(1, device=None if d < 0 else d) * self.alpha)
            )
        return self

    def forward(self, x):
        return self.conv(x)


class SquareOnly(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, 1, 1)

    def forward(self, x):
        if x.shape[-1] != x.shape[-2]:
            raise ValueError("square images only")
        return F.pixel_shuffle(self.conv(x), 2)


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x / (x.pow(2) + 1e-6).sqrt()

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g / (x.pow(2) + 1e-6).sqrt()


class OwnBackward(nn.Module):
    """`analyze --train` of a network with its own autograd function, as NAFNet's norm is."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, 1, 1)

    def forward(self, x):
        return Scale.apply(self.conv(x))


class Tokens(nn.Module):
    """B x N x C tokens: how the challenge counts a linear layer."""

    def __init__(self, c: int = 32):
        super().__init__()
        self.head, self.norm = nn.Conv2d(3, c, 3, 1, 1), nn.LayerNorm(c)
        self.up, self.down, self.tail = (
            nn.Linear(c, 4 * c),
            nn.Linear(4 * c, c),
            nn.Conv2d(c, 12, 3, 1, 1),
        )

    def forward(self, x):
        y = self.head(x)
        b, c, h, w = y.shape
        t = y.flatten(2).transpose(1, 2)
        t = t + self.down(F.gelu(self.up(self.norm(t))))
        return F.pixel_shuffle(self.tail(t.transpose(1, 2).view(b, c, h, w)), 2)


class Conv2d(nn.Module):
    """A wrapper that is named as torch's class: the challenge counts by class, not by name."""

    def __init__(self, i: int, o: int, k: int):
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, 1, k // 2)

    def forward(self, x):
        return self.conv(x)


class SameName(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.relu, self.b = Conv2d(3, 8, 3), nn.ReLU(), Conv2d(8, 3, 3)

    def forward(self, x):
        return self.b(self.relu(self.a(x)))
