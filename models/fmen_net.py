"""FMEN (Du et al., CVPRW 2022), in training and in inference form.

A head, a warm-up block, pairs of an enhanced residual block (ERB) and a high-frequency attention
block (HFAB), one global skip, a pixel-shuffle tail. Merged (`merge`), every branch of the
training form is a plain 3x3 convolution, so that few feature maps are alive at once: 4n + 3 planes.

Parameter names are those of the authors' released checkpoints; the challenge's file has other
names for two of them, which load too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from srprof.registry import Convention, Network

from .blocks import BlockName, Form, check_scale, conv3x3, make_block, pixel_shuffle_tail
from .hfab import HFAB, TrainingHFAB
from .merging import merge

NETWORKS = (
    Network(
        name="fmen",
        factory="srprof.models.fmen_net:fmen",
        title="Fast and memory-efficient network (Du et al., CVPRW 2022)",
        scale=4,
        scales=(2, 3, 4),
        width=64,
        row="Table 3; Tables 1 and 2 at x4",
        published={
            2: {"params_K": 748, "mult_adds_G": 172.0},
            3: {"params_K": 757, "mult_adds_G": 77.2},
            4: {"params_K": 769, "mult_adds_G": 44.2, "memory_256_M": 68, "time_ms": 46.13},
        },
        conventions=(
            Convention("params_K", "digits cut off, not rounded", truncated=True),
            Convention("mult_adds_G", "digits cut off, not rounded", truncated=True),
            Convention(
                "mult_adds_G",
                "at LR 426x240, digits cut off",
                scales=(3,),
                size=(240, 426),
                truncated=True,
            ),
        ),
        notes="The authors released no FMEN hyper-parameters; these are inferred from the "
        "published parameters and Mult-Adds at x2, x3 and x4. Training form: "
        "fmen(form='train'). Table 1 exchanges block='erb', 'rb' and 'pb'.",
        merge="srprof.models.merging:merge",
        from_state_dict="srprof.models.fmen_checkpoint:from_state_dict",
    ),
)

#: How the challenge's file spells what the released checkpoints abbreviate.
SPELLINGS = (("basic_blocks.", "ERBs."), ("hfabs.", "HFABs."))


class FMEN(nn.Module):
    """The network: (N, 3, H, W) to (N, 3, scale*H, scale*W).

    Args:
        n_feats: trunk width n.
        mid_feats: width inside the HFABs; the warm-up's is 4 less.
        up_blocks: blocks in each HFAB, the warm-up's first; one block-HFAB pair for each other.
    """

    def __init__(
        self,
        scale: int,
        n_feats: int,
        mid_feats: int,
        up_blocks: Sequence[int],
        block: BlockName,
        form: Form,
    ) -> None:
        super().__init__()
        check_scale(scale)
        hfab = TrainingHFAB if form == "train" else HFAB
        warmup, *pairs = up_blocks
        self.head = conv3x3(3, n_feats)
        self.warmup = nn.Sequential(
            conv3x3(n_feats, n_feats), hfab(n_feats, warmup, mid_feats - 4, block)
        )
        self.ERBs = nn.ModuleList(make_block(block, n_feats, form) for _ in pairs)
        self.HFABs = nn.ModuleList(hfab(n_feats, blocks, mid_feats, block) for blocks in pairs)
        self.lr_conv = conv3x3(n_feats, n_feats)
        self.tail = pixel_shuffle_tail(n_feats, scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        h = self.warmup(x)
        for erb, hfab in zip(self.ERBs, self.HFABs, strict=True):
            h = erb(h)
            h = hfab(h)
        h = self.lr_conv(h)
        h += x
        return self.tail(h)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for theirs, ours in SPELLINGS:
            for key in [key for key in state_dict if key.startswith(prefix + theirs)]:
                name = key[len(prefix + theirs) :]
                state_dict[prefix + ours + name] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *rest)


def fmen(
    scale: int = 4,
    n_feats: int = 64,
    mid_feats: int = 32,
    up_blocks: Sequence[int] = (3, 2, 2, 2, 2),
    block: BlockName = "erb",
    form: Form = "inference",
) -> FMEN:
    """FMEN (769K at x4). `fmen.merge(model)` gives a training form's inference form.

    Its hyper-parameters are inferred: the only ones of the released code's form that give the
    published parameters and Mult-Adds at x2, x3 and x4.
    """
    return FMEN(scale, n_feats, mid_feats, up_blocks, block, form)


fmen.merge = merge  # type: ignore[attr-defined]  # a function's attribute is unknown to mypy
