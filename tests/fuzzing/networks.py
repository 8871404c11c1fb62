"""Networks that are assembled from statements that each may be wrong."""

from __future__ import annotations

from random import Random

#: Statements that networks are assembled from, of the constructor and of `forward`.
CONSTRUCTED = (
    "pass", "self.body = 3", "self.body = None", "del self._modules", "self._parameters = None",
    "self.training = 'yes'", "self.add_module('a\\x1b[2J', nn.ReLU())", "self.me = [self]",
    "self.add_module('$x$', nn.ReLU())", "self.lambda_ = lambda: 3", "raise SystemExit(0)",
    "raise ValueError('\\x1b[31m')", "raise BaseException", "raise Odd", "self.train = None",
    "self.eval = 3", "self.to = print", "self.parameters = lambda: [1]", "self._buffers = {1: 2}",
    "self.register_buffer('n', torch.tensor(float('nan')))",
    "self.weight = nn.Parameter(torch.ones(3))", "self.state_dict = None",
    "self.named_modules = lambda: 1 / 0", "self.__dict__['forward'] = 3",
    "torch.set_default_dtype(torch.float64)", "torch.manual_seed('x')",
    "sys.setrecursionlimit(10000)", "import os; os._exit(0)", "sys.stdout.close()",
    "sys.stdout = sys.stderr = None", "print('x' * 9)",
    "self.register_forward_hook(lambda *_: 1 / 0)", "self.half()", "self.double()",
    "self.requires_grad_(False)",
)  # fmt: skip
RUN = (
    "pass", "x = x.relu()", "x = x + 1", "x = self.body(x)", "x = x[..., :0]", "x = x[:, :, ::2]",
    "x = x.reshape(-1)", "x = x.to(torch.float64)", "x = x.tolist()", "x = None", "x = [x, [x]]",
    "x = {'a': x, 1: x}", "x = {1, 2}", "x = self", "x = lambda: x", "x = iter([x])",
    "x = x.item()", "x = x.sum().item()", "x = torch.zeros(2 ** 40)", "x = torch.zeros(-1)",
    "x = x.cuda()", "x = x.numpy()", "x = float('nan')", "x = 10 ** 400", "raise SystemExit(0)",
    "raise GeneratorExit", "raise Odd", "raise StopIteration", "raise MemoryError",
    "raise RecursionError", "raise OSError(28, 'No space')", "raise KeyError('\\0\\x1b\\u202e')",
    "return self.forward(x)", "return self(x)", "yield x", "1 / 0", "x.resize_(0)",
    "x.data = x.data[:1]", "x.fill_(float('nan'))", "del x", "x = x.to_sparse()",
    "x = torch.compile(lambda y: y)", "x = nn.Parameter(x)", "x = x.requires_grad_()",
    "x.backward()", "self.body = nn.ReLU()", "self.add_module('new', nn.ReLU())", "self.cache = x",
    "x = x.numel()", "x = torch.nonzero(x)", "x = x.nonexistent", "torch.cuda.synchronize()",
    "import os; os.close(2); os.open(os.devnull, 1)", "warnings.warn('\\x1b')",
    "threading.Thread(target=print).start()", "sys.exit('\\x1b[2J')", "assert 0, x",
)  # fmt: skip
HEAD = """\
import sys, threading, warnings
import torch
from torch import nn


class Odd(BaseException):
    def __str__(self):
        raise self


class Net(nn.Module):
    def __init__(self, nf=2):
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3, padding=1)
"""


def network(random: Random) -> tuple[tuple[str, ...], str]:
    """A command that runs a network, and its source: statements that each may be wrong."""
    lines = [f"        {random.choice(CONSTRUCTED)}" for _ in range(random.choice((0, 1, 1, 2)))]
    lines += ["", "    def forward(self, x):"]
    lines += [f"        {random.choice(RUN)}" for _ in range(random.choice((1, 1, 2, 3)))]
    source = HEAD + "\n".join([*lines, "        return x", ""])
    spec, size = "odd.py:Net", ("--input", "1x3x8x8")
    argv = random.choice(
        (
            ("analyze", spec, *size),
            ("analyze", spec, *size, "--format", random.choice(("json", "markdown", "perfetto"))),
            ("analyze", spec, *size, "--train"),
            ("analyze", spec, *size, "--profile", "gtx1080ti"),
            ("diff", spec, "net.py:Net", *size),
            ("rank", spec, "net.py:Net", *size),
            ("advise", spec, *size),
            ("lean", spec, *size),
            ("fit", spec, "--budget", "1MiB"),
            ("measure", spec, *size, "--device", "cpu", "--repeat", "1", "--warmup", "0"),
        )
    )
    return argv, source
