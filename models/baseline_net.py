"""The baseline of the FMEN paper's Table 2: fifteen ERBs, alone or with an attention.

Its hyper-parameters are inferred: the only width with and without a warm-up convolution that gives
the published parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from srprof.registry import Convention, Network

from .blocks import (
    CCA,
    ESA,
    BlockName,
    Form,
    check_choice,
    check_scale,
    conv3x3,
    make_block,
    pixel_shuffle_tail,
)

NETWORKS = (
    Network(
        name="fmen_baseline",
        factory="srprof.models.baseline_net:fmen_baseline",
        title="Baseline of FMEN's Table 2: 15 ERBs of 52 channels, no attention",
        scale=4,
        scales=(2, 3, 4),
        width=52,
        row="Table 2: Baseline",
        published={4: {"params_K": 779, "time_ms": 45.25}},
        conventions=(Convention("params_K", "digits cut off, not rounded", truncated=True),),
        notes="fmen_baseline(attention='cca') and (attention='esa') are the table's other rows, "
        "782K (782 published, 50.55 ms) and 784K (784, 52.11 ms); their width is the simplest "
        "that fits, a sixteenth of 52.",
        merge="srprof.models.merging:merge",
    ),
)


class Baseline(nn.Module):
    """The network: (N, 3, H, W) to (N, 3, scale*H, scale*W).

    Args:
        attention: "none", "cca" or "esa" behind every third block.
    """

    def __init__(
        self, scale: int, nf: int, blocks: int, attention: str, block: BlockName, form: Form
    ) -> None:
        super().__init__()
        check_scale(scale)
        check_choice("attention", attention, ("none", "cca", "esa"))
        body: list[nn.Module] = []
        for index in range(1, blocks + 1):
            body.append(make_block(block, nf, form))
            if index % 3 == 0 and attention != "none":
                body.append((CCA if attention == "cca" else ESA)(nf, nf // 16))
        self.head = conv3x3(3, nf)
        self.body = nn.Sequential(*body)
        self.lr_conv = conv3x3(nf, nf)
        self.tail = pixel_shuffle_tail(nf, scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        h = self.body(x)
        h = self.lr_conv(h)
        h += x
        return self.tail(h)


def fmen_baseline(
    scale: int = 4,
    nf: int = 52,
    blocks: int = 15,
    attention: str = "none",
    block: BlockName = "erb",
    form: Form = "inference",
) -> Baseline:
    """Table 2's baseline (780K at x4); with `attention="cca"` or `"esa"` its other rows."""
    return Baseline(scale, nf, blocks, attention, block, form)
