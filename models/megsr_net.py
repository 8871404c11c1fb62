"""MegSR (290K) of the NTIRE 2022 challenge: E-RFDN pruned to 40 channels, without residual sums."""

from __future__ import annotations

from srprof.registry import Network

from .blocks import ESA, FDB
from .e_rfdn_net import ERFDN

NETWORKS = (
    Network(
        name="megsr",
        factory="srprof.models.megsr_net:megsr",
        title="MegSR: E-RFDN pruned to 40 channels, without residual sums",
        scale=4,
        scales=(2, 3, 4),
        width=40,
        row="Table 4: MegSR",
        published={
            4: {
                "params_M": 0.29,
                "flops_G": 17.7,
                "activations_M": 91.72,
                "memory_MiB": 640.63,
                "convs": 64,
                "runtime_ms": 32.59,
                "psnr_dB": 29.00,
            }
        },
    ),
)


def megsr(scale: int = 4, nf: int = 40, esa_channels: int = 12) -> ERFDN:
    """MegSR (290K at x4): fewer channels, no residual sums, the attention's width unchanged."""
    return ERFDN(scale, nf, lambda n: FDB(n, n // 2, ESA(n, esa_channels)))
