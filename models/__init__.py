"""The zoo: networks of the paper's tables. Installs as `srprof.models`.

Importing this package loads no torch; `srprof.models.fmen_s(scale=4)` does. No file is named as
a network is, so that `srprof.models.imdn` is always the factory and never a module.
"""

from __future__ import annotations

from typing import Any

from srprof.registry import Network

_NTIRE2022 = "NTIRE 2022 efficient super-resolution challenge; FMEN paper, Table 4"

ZOO = (
    Network(
        name="fmen",
        factory="srprof.models.fmen_net:fmen",
        title="Fast and memory-efficient network (Du et al., CVPRW 2022), inference form",
        scale=4,
        width=64,
        source="FMEN paper, Table 3",
        published={"params_K": 769, "mult_adds_G": 44.2, "memory_256_M": 68},
        notes="The authors released no FMEN hyper-parameters; these are inferred from the "
        "published parameters and Mult-Adds at x2, x3 and x4.",
    ),
    Network(
        name="fmen_s",
        factory="srprof.models.fmen_net:fmen_s",
        title="FMEN-S, the authors' challenge entry, inference form",
        scale=4,
        width=50,
        source=_NTIRE2022,
        published={
            "params_M": 0.341,
            "flops_G": 22.28,
            "activations_M": 72.09,
            "memory_MiB": 204.60,
            "convs": 34,
            "runtime_ms": 28.07,
        },
    ),
    Network(
        name="e_rfdn",
        factory="srprof.models.rfdn_net:e_rfdn",
        title="E-RFDN (433K), baseline of the challenge: RFDN with 4 blocks of 50 channels",
        scale=4,
        width=50,
        aliases=("rfdn_baseline",),
        source=_NTIRE2022,
        published={
            "params_M": 0.433,
            "flops_G": 27.10,
            "activations_M": 112.03,
            "memory_MiB": 788.13,
            "convs": 64,
            "runtime_ms": 41.97,
        },
    ),
    Network(
        name="imdn",
        factory="srprof.models.imdn_net:imdn",
        title="IMDN (894K), baseline of AIM 2020 and NTIRE 2022: 8 blocks of 64 channels",
        scale=4,
        width=64,
        aliases=("imdn_baseline",),
        source=_NTIRE2022,
        published={
            "params_M": 0.894,
            "flops_G": 58.53,
            "activations_M": 154.14,
            "memory_MiB": 471.76,
            "convs": 43,
            "runtime_ms": 50.86,
        },
        notes="Not the 715K IMDN of ACM MM 2019, which adds CCA and concatenates all blocks.",
    ),
    Network(
        name="rlfn",
        factory="srprof.models.rlfn_net:rlfn",
        title="RLFN as ByteESR entered it: residual local features, no distillation",
        scale=4,
        width=46,
        aliases=("byteesr",),
        source=_NTIRE2022,
        published={
            "params_M": 0.317,
            "flops_G": 19.7,
            "activations_M": 80.05,
            "memory_MiB": 377.91,
            "convs": 39,
            "runtime_ms": 27.11,
        },
    ),
    Network(
        name="neesr",
        factory="srprof.models.neesr_net:neesr",
        title="NEESR: edge-enhanced feature distillation, merged",
        scale=4,
        width=42,
        aliases=("efdn",),
        source=_NTIRE2022,
        published={
            "params_M": 0.272,
            "flops_G": 16.86,
            "activations_M": 79.59,
            "memory_MiB": 575.99,
            "convs": 59,
            "runtime_ms": 29.97,
        },
    ),
    Network(
        name="repafdn",
        factory="srprof.models.repafdn_net:repafdn",
        title="RePAFDN of the Super team: feature distillation with pixel attention",
        scale=4,
        width=48,
        aliases=("super",),
        source=_NTIRE2022,
        published={
            "params_M": 0.326,
            "flops_G": 20.06,
            "activations_M": 93.82,
            "memory_MiB": 663.07,
            "convs": 59,
            "runtime_ms": 32.09,
        },
    ),
    Network(
        name="megsr",
        factory="srprof.models.rfdn_net:megsr",
        title="MegSR: E-RFDN pruned to 40 channels, without residual sums",
        scale=4,
        width=40,
        source=_NTIRE2022,
        published={
            "params_M": 0.29,
            "flops_G": 17.7,
            "activations_M": 91.72,
            "memory_MiB": 640.63,
            "convs": 64,
            "runtime_ms": 32.59,
        },
    ),
    Network(
        name="rainbow",
        factory="srprof.models.rainbow_net:rainbow",
        title="rainbow: IMDN+, narrow, six splits a block",
        scale=4,
        width=36,
        aliases=("imdn_plus",),
        source=_NTIRE2022,
        published={
            "params_M": 0.276,
            "flops_G": 17.98,
            "activations_M": 92.8,
            "memory_MiB": 309.23,
            "convs": 59,
            "runtime_ms": 34.1,
        },
    ),
)


def __getattr__(name: str) -> Any:
    """A network's factory: `srprof.models.e_rfdn(scale=4, nf=50)`."""
    for network in ZOO:
        if network.name == name:
            return network.load()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
