"""Networks that keep something of a call for the next, or fuse their branches on the way.

A line with `# here` is the one that a refusal names.
"""

import copy
import functools
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F
from torch import nn

WEIGHTS: list = []
SEEN: list = []
LAST: dict = {}


class Branches(nn.Module):
    """A 3x3 and a 1x1 convolution, whose sum is one 3x3 convolution."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 12, 3, 1, 1), nn.Conv2d(3, 12, 1)
        self.kept = None

    def fused(self):
        weight = self.a.weight + F.pad(self.b.weight, (1, 1, 1, 1))  # here
        return weight, self.a.bias + self.b.bias

    def tail(self, y):
        return F.pixel_shuffle(F.relu(y) * 2, 2)


class InAList(Branches):
    def forward(self, x):
        if not WEIGHTS:
            WEIGHTS.append(self.fused())
        return self.tail(F.conv2d(x, *WEIGHTS[0], padding=1))


class InAnAttribute(Branches):
    def forward(self, x):
        if self.kept is None:
            self.kept = self.fused()
        return self.tail(F.conv2d(x, *self.kept, padding=1))


class AsParameters(Branches):
    def forward(self, x):
        if hasattr(self, "b"):
            self.a.weight, self.a.bias = map(nn.Parameter, self.fused())
            del self.b
        return self.tail(self.a(x))


class AsAConvolution(Branches):
    def forward(self, x):
        if not hasattr(self, "one"):
            self.one = nn.Conv2d(3, 12, 3, 1, 1)
            self.one.weight.data, self.one.bias.data = self.fused()
            del self.a, self.b
        return self.tail(self.one(x))


class AsDataInEachCall(Branches):
    """As SPAN's blocks in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 12, 3, 1, 1)

    def forward(self, x):
        weight = self.a.weight.data.clone() + F.pad(self.b.weight.data.clone(), (1, 1, 1, 1))
        self.one.weight.data, self.one.bias.data = weight, self.fused()[1]
        return self.tail(self.one(x))


class InEval(Branches):
    """Fuses in `eval()`, and keeps tensors with a history that are no parameters."""

    def eval(self):
        self.kept = self.fused()
        return super().eval()

    def forward(self, x):
        y = self.a(x) + self.b(x) if self.kept is None else F.conv2d(x, *self.kept, padding=1)
        return self.tail(y)


class InTrain(Branches):
    """Fuses in `train(False)`, into a convolution in the place of the branches."""

    def train(self, mode: bool = True):
        if not mode and hasattr(self, "b"):
            self.one = nn.Conv2d(3, 12, 3, 1, 1)
            self.one.weight.data, self.one.bias.data = self.fused()
            del self.a, self.b
        return super().train(mode)

    def forward(self, x):
        return self.tail(self.one(x) if hasattr(self, "one") else self.a(x) + self.b(x))


class ByItself(InTrain):
    """Fuses in a method of its own, which is called before."""

    def train(self, mode: bool = True):
        return nn.Module.train(self, mode)

    def fuse(self):
        InTrain.train(self, False)
        return self


class Coordinates(nn.Module):
    """Coordinates beside the image's channels, made once for a size."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(5, 12, 3, 1, 1)
        self.made, self.by_size = None, {}
        self.register_buffer("buffer", None)

    def make(self, height, width):
        sides = (torch.linspace(-1, 1, side) for side in (height, width))
        return torch.stack(torch.meshgrid(*sides, indexing="ij"))[None]

    def tail(self, x, coordinates):
        y = self.conv(torch.cat([x, coordinates.expand(len(x), -1, -1, -1)], 1))
        return F.pixel_shuffle(F.relu(y) * 2, 2)


class OfTheLastSize(Coordinates):
    def forward(self, x):
        if self.made is None or self.made.shape[-2:] != x.shape[-2:]:
            self.made = self.make(*x.shape[-2:])
        return self.tail(x, self.made)


class BySize(Coordinates):
    def forward(self, x):
        size = tuple(x.shape[-2:])
        if size not in self.by_size:
            self.by_size[size] = self.make(*size)
        return self.tail(x, self.by_size[size])


class AsABuffer(Coordinates):
    def forward(self, x):
        if self.buffer is None or self.buffer.shape[-2:] != x.shape[-2:]:
            self.buffer = self.make(*x.shape[-2:])
        return self.tail(x, self.buffer)


class ByDefault(Coordinates):
    def forward(self, x, made={}):  # noqa: B006  (that is the case)
        if x.shape not in made:
            made[x.shape] = self.make(*x.shape[-2:])
        return self.tail(x, made[x.shape])


@functools.lru_cache(8)
def coordinates(height, width):
    return Coordinates.make(None, height, width)


class Cached(Coordinates):
    def forward(self, x):
        return self.tail(x, coordinates(*x.shape[-2:]))


def remembering(function):
    results: dict = {}

    def remembered(*args):
        if args not in results:
            results[args] = function(*args)
        return results[args]

    return remembered


@remembering
def remembered_coordinates(height, width):
    return Coordinates.make(None, height, width)


class Remembered(Coordinates):
    def forward(self, x):
        return self.tail(x, remembered_coordinates(*x.shape[-2:]))


class LooksBack(Coordinates):
    """Keeps feature maps that no later call reads."""

    def forward(self, x):
        self.made = self.conv(torch.cat([x, x[:, :2]], 1))
        LAST["map"] = self.made
        return F.relu(self.made) + self.made


class Running(nn.Module):
    """A running mean in a buffer, bound anew in each call."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, 1, 1)
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))

    def forward(self, x):
        self.mean = 0.5 * self.mean + 0.5 * x.mean((0, 2, 3), keepdim=True)
        return F.relu(self.conv(x - self.mean)) + 1


# -- refused --------------------------------------------------------------------------------------


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, 1, 1)
        self.kept, self.calls = None, 0
        self.plain = torch.ones(1, 3, 1, 1)


class MeanOfTheFirst(Image):
    def forward(self, x):
        if not SEEN:
            SEEN.append(x.mean((2, 3), keepdim=True))  # here
        return F.relu(self.conv(x - SEEN[0])) + 1


class TheImageBefore(Image):
    def forward(self, x):
        before, self.kept = x if self.kept is None else self.kept, x
        return F.relu(self.conv(x)) + before.mean()  # here


class ParameterBefore(Image):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, 3, 1, 1))

    def forward(self, x):
        self.gain.data = 0.5 * self.gain.data  # here
        return F.relu(self.conv(x * self.gain)) + 1


class PlainTensor(Image):
    def forward(self, x):
        self.plain.mul_(0.5)  # here
        return F.relu(self.conv(x * self.plain)) + 1


class CountsCalls(Image):
    def forward(self, x):
        self.calls += 1
        return F.relu(self.conv(x)) * self.calls  # here


class FirstSize(Image):
    def forward(self, x):
        self.calls = self.calls or x.shape[2]
        return F.relu(self.conv(x)) * (1 / self.calls)  # here


class FirstTensor(Coordinates):
    """Resizes coordinates of the first image's size to those of the others."""

    def forward(self, x):
        if self.made is None:
            column = torch.linspace(0, 1, x.shape[2])  # here
            self.made = column.view(1, 1, -1, 1).expand(1, 2, -1, 4)
        return self.tail(x, F.interpolate(self.made, x.shape[-2:]))


class AddsOnce(Branches):
    @torch.no_grad()
    def forward(self, x):
        if self.kept is None:
            self.a.weight += F.pad(self.b.weight, (1, 1, 1, 1))  # here
            self.kept = True
        return self.tail(self.a(x))


class FirstByBranches(Branches):
    """Its first call adds the branches, and the others' rounding is another."""

    def forward(self, x):
        if self.kept is None:
            self.kept = self.fused()
            return self.tail(self.a(x) + self.b(x))
        return self.tail(F.conv2d(x, *self.kept, padding=1))


# -- what torch.export does not see ---------------------------------------------------------------


class InAThread(Image):
    def forward(self, x):
        with ThreadPoolExecutor(1) as pool:
            y = pool.submit(self.conv, x).result()
        return F.relu(y) + 1  # here


class OfACopy(Image):
    def forward(self, x):
        return F.relu(copy.deepcopy(self.conv)(x)) + 1  # here


class UnderAutocast(Image):
    def forward(self, x):
        with torch.autocast("cuda", torch.float16):
            y = self.conv(x)  # here
        return F.relu(y) + 1


class AutocastOff(Image):
    """FFTs and norms are often kept out of autocast so, whoever may have switched it on."""

    def forward(self, x):
        with torch.autocast("cuda", enabled=False):
            y = self.conv(x.float())
        return F.relu(y) + 1


class Waits(Image):
    """Times itself, which takes a GPU."""

    def forward(self, x):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        y = self.conv(x)
        end.record()
        torch.cuda.synchronize()
        self.took = start.elapsed_time(end)
        return F.relu(y) + 1
