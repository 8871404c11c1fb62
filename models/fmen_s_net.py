"""FMEN-S (Du et al., CVPRW 2022): the authors' entry to the NTIRE 2022 challenge."""

from __future__ import annotations

from collections.abc import Sequence

from srprof.registry import Network

from .blocks import BlockName, Form
from .fmen_net import FMEN
from .merging import merge

NETWORKS = (
    Network(
        name="fmen_s",
        factory="srprof.models.fmen_s_net:fmen_s",
        title="FMEN-S, the authors' entry to the NTIRE 2022 challenge",
        scale=4,
        scales=(2, 3, 4),
        width=50,
        row="Table 4: FMEN-S",
        published={
            4: {
                "params_M": 0.341,
                "flops_G": 22.28,
                "activations_M": 72.09,
                "memory_MiB": 204.60,
                "convs": 34,
                "runtime_ms": 28.07,
                "psnr_dB": 29.00,
            }
        },
        notes="Training form: fmen_s(form='train').",
        merge="srprof.models.merging:merge",
    ),
)


def fmen_s(
    scale: int = 4,
    n_feats: int = 50,
    mid_feats: int = 16,
    up_blocks: Sequence[int] = (2, 1, 1, 1, 1),
    block: BlockName = "erb",
    form: Form = "inference",
) -> FMEN:
    """FMEN-S (341K at x4), the authors' entry to the NTIRE 2022 challenge; `fmen_s.merge`."""
    return FMEN(scale, n_feats, mid_feats, up_blocks, block, form)


fmen_s.merge = merge  # type: ignore[attr-defined]  # a function's attribute is unknown to mypy
