"""spandrel's networks: of every architecture a published variant, by its hyper-parameters.

The smallest variant where there are several. Those that are too large for a test are cut in depth
or width, and say so; `published` is the whole one, of which packs are made. No torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

#: A hyper-parameter that is left to the constructor.
DEFAULT = object()

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """One network.

    Attributes:
        architecture: its id in `spandrel.MAIN_REGISTRY`.
        factory: the class, in the module `spandrel.architectures.<architecture>`.
        hyper: keyword arguments of its constructor.
        inputs: shapes of its call's arguments; the first is the image.
        scale: height and width of the output over those of the image.
        channels: of the output.
        fallback: why the meta device cannot run it; "" if it can. srprof then runs the CPU.
        variant: which of the published ones, or which cut; "" for the constructor's defaults.
        about: what else to know of it.
        whole: of one that is cut, hyper-parameters of the published one in the place of these,
            `DEFAULT` where it has the constructor's.
        whole_variant, whole_inputs: the same of `variant` and `inputs`.
    """

    architecture: str
    factory: str
    hyper: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Shape, ...] = ((1, 3, 64, 64),)
    scale: int = 1
    channels: int = 3
    fallback: str = ""
    variant: str = ""
    about: str = ""
    whole: Mapping[str, Any] | None = None
    whole_variant: str = ""
    whole_inputs: tuple[Shape, ...] = ()

    @property
    def name(self) -> str:
        """Unique in the table, and a pytest id."""
        own = self.factory == self.architecture
        named = self.factory if own else f"{self.architecture}.{self.factory}"
        return f"{named}-{self.variant}" if self.variant else named

    @property
    def spec(self) -> str:
        """The network as srprof's SPEC."""
        hyper = ", ".join(f"{key}={value!r}" for key, value in self.hyper.items())
        return f"spandrel.architectures.{self.architecture}:{self.factory}({hyper})"

    @property
    def device(self) -> str:
        """Where `trace_on="auto"` runs it."""
        return "cpu" if self.fallback else "meta"

    @property
    def output(self) -> Shape:
        """Shape of its first output."""
        batch, _, height, width = self.inputs[0]
        return (batch, self.channels, height * self.scale, width * self.scale)

    @property
    def published(self) -> Entry:
        """The variant that was published."""
        if self.whole is None:
            return self
        hyper = {k: v for k, v in {**self.hyper, **self.whole}.items() if v is not DEFAULT}
        variant, inputs = self.whole_variant, self.whole_inputs or self.inputs
        return replace(
            self, hyper=hyper, variant=variant, inputs=inputs, about="", whole=None, whole_inputs=()
        )

    def build(self) -> nn.Module:
        """The network on the CPU with random weights, in training mode as torch makes it."""
        import torch

        from srprof.adapters.importing import import_spandrel

        import_spandrel()
        module = importlib.import_module(f"spandrel.architectures.{self.architecture}")
        constructor: Callable[..., nn.Module] = getattr(module, self.factory)
        torch.manual_seed(0)
        return constructor(**self.hyper)


_SWIN = {"window_size": 8, "depths": (6, 6, 6, 6), "num_heads": (6, 6, 6, 6), "mlp_ratio": 2.0}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "ATD",
        "ATD",
        {
            "embed_dim": 48,
            "num_heads": (4, 4, 4, 4),
            "window_size": 16,
            "category_size": 128,
            "reducted_dim": 8,
            "convffn_kernel_size": 7,
            "mlp_ratio": 1.0,
            "upscale": 4,
            "upsampler": "pixelshuffledirect",
        },
        scale=4,
        variant="light",
    ),
    Entry(
        "AuraSR",
        "AuraSR",
        {
            "dim": 16,
            "image_size": None,
            "input_image_size": None,
            "style_network": {"dim_in": 32, "dim_out": 128, "depth": 4},
            "skip_connect_scale": 0.4,
            "self_attn_dim_head": 16,
        },
        scale=4,
        variant="dim16",
        about="published with dim 64 (617 M parameters)",
        whole={
            "dim": 64,
            "style_network": {"dim_in": 128, "dim_out": 512, "depth": 4},
            "self_attn_dim_head": 64,
        },
    ),
    Entry("CRAFT", "CRAFT", scale=4),
    Entry("Compact", "Compact", scale=4),
    Entry(
        "DAT",
        "DAT",
        {
            "embed_dim": 60,
            "split_size": [8, 32],
            "depth": [18],
            "num_heads": [6],
            "expansion_factor": 2.0,
            "resi_connection": "3conv",
            "upsampler": "pixelshuffledirect",
        },
        scale=2,
        variant="light",
    ),
    Entry("DCTLSA", "DCTLSA", scale=4),
    Entry("DITN", "DITN", scale=4),
    Entry(
        "DRCT",
        "DRCT",
        {"depths": (6, 6), "num_heads": (6, 6), "upscale": 4, "upsampler": "pixelshuffle"},
        scale=4,
        variant="2groups",
        about="published with 6 groups",
        whole={"depths": (6,) * 6, "num_heads": (6,) * 6},
    ),
    Entry("DRUNet", "DRUNet", {"in_nc": 4, "out_nc": 3}, ((1, 4, 64, 64),), variant="colour"),
    Entry("DnCNN", "DnCNN", {}, ((1, 1, 64, 64),), channels=1),
    Entry(
        "DnCNN",
        "DnCNN",
        {"in_nc": 2, "nb": 20, "act_mode": "R", "mode": "FDnCNN"},
        ((1, 2, 64, 64),),
        channels=1,
        variant="FDnCNN",
    ),
    Entry("ESRGAN", "ESRGAN", scale=4),
    Entry(
        "ESRGAN",
        "ESRGAN",
        {"num_blocks": 6, "plus": True},
        scale=4,
        variant="plus",
        about="ESRGAN+; 6 blocks, published with 23",
        whole={"num_blocks": DEFAULT},
        whole_variant="plus",
    ),
    Entry(
        "ESRGAN",
        "ESRGAN",
        {"in_nc": 12, "num_blocks": 6, "scale": 4, "shuffle_factor": 2},
        scale=2,
        variant="unshuffle",
        about="Real-ESRGAN x2; 6 blocks, published with 23",
        whole={"num_blocks": DEFAULT},
        whole_variant="unshuffle",
    ),
    Entry("FBCNN", "FBCNN"),
    Entry("FDAT", "FDAT", scale=4),
    Entry("FFTformer", "FFTformer"),
    Entry(
        "GFPGAN",
        "GFPGAN",
        {"out_size": 128, "channel_multiplier": 1, "narrow": 0.5},
        ((1, 3, 128, 128),),
        variant="128",
        about="faces of 128x128, published for 512x512 and 2 to 4 times as wide",
        whole={"out_size": 512, "channel_multiplier": 2, "narrow": 1},
        whole_inputs=((1, 3, 512, 512),),
    ),
    Entry(
        "GRL",
        "GRL",
        {
            "embed_dim": 64,
            "upscale": 4,
            "upsampler": "pixelshuffledirect",
            "depths": [4, 4, 4, 4],
            "num_heads_window": [2, 2, 2, 2],
            "num_heads_stripe": [2, 2, 2, 2],
            "window_size": 32,
            "stripe_size": [64, 64],
            "stripe_shift": True,
            "mlp_ratio": 2.0,
            "anchor_window_down_factor": 4,
        },
        scale=4,
        variant="tiny",
    ),
    Entry(
        "HAT",
        "HAT",
        {
            "embed_dim": 144,
            "depths": (6, 6),
            "num_heads": (6, 6),
            "window_size": 16,
            "compress_ratio": 24,
            "squeeze_factor": 24,
            "mlp_ratio": 2,
            "upscale": 4,
        },
        scale=4,
        variant="S",
        about="2 groups, published with 6",
        whole={"depths": (6,) * 6, "num_heads": (6,) * 6},
        whole_variant="S",
    ),
    Entry(
        "HVICIDNet", "HVICIDNet", fallback="boolean masks as indices, and `.item()` of a parameter"
    ),
    Entry(
        "IPT",
        "IPT",
        {"num_layers": 2, "scale": [4]},
        ((1, 3, 48, 48),),
        scale=4,
        variant="2layers",
        about="published with 12 layers (115 M parameters)",
        whole={"num_layers": 12},
    ),
    Entry(
        "KBNet",
        "KBNet_s",
        {"width": 32},
        about="published with width 64",
        whole={"width": 64},
    ),
    Entry(
        "KBNet",
        "KBNet_l",
        {"dim": 24, "num_blocks": [2, 2, 2, 2], "num_refinement_blocks": 2},
        about="published with dim 48 and 2 to 4 times the blocks",
        whole={"dim": 48, "num_blocks": [4, 6, 6, 8], "num_refinement_blocks": 4},
    ),
    Entry("LaMa", "LaMa", {"in_nc": 4}, ((1, 3, 64, 64), (1, 1, 64, 64))),
    Entry("MMRealSR", "MMRealSR", {"num_in_ch": 3, "num_out_ch": 3}, scale=4),
    Entry("MixDehazeNet", "MixDehazeNet"),
    Entry("MoESR", "MoESR", scale=4),
    Entry("MoESR", "MoESR", {"n_blocks": 2, "upsampler": "dysample"}, scale=4, variant="dysample"),
    Entry("MoSR", "MoSR", scale=4),
    Entry(
        "NAFNet",
        "NAFNet",
        {"width": 32, "enc_blk_nums": [1, 1, 1, 28], "dec_blk_nums": [1, 1, 1, 1]},
        variant="width32",
    ),
    Entry("OmniSR", "OmniSR", {"block_num": 1, "res_num": 5}, scale=4),
    Entry("PLKSR", "PLKSR", scale=4),
    Entry(
        "PLKSR",
        "PLKSR",
        {"n_blocks": 12, "ccm_type": "DCCM", "lk_type": "SparsePLK", "with_idt": True},
        scale=4,
        variant="sparse",
    ),
    Entry("PLKSR", "RealPLKSR", scale=4),
    Entry(
        "PLKSR", "RealPLKSR", {"dysample": True, "layer_norm": True}, scale=4, variant="dysample"
    ),
    Entry("RCAN", "RCAN", scale=4),
    Entry(
        "RGT",
        "RGT",
        {
            "depth": [6, 6],
            "num_heads": [6, 6],
            "mlp_ratio": 2.0,
            "upscale": 4,
            "split_size": [8, 32],
        },
        scale=4,
        variant="S",
        about="2 groups, published with 6",
        whole={"depth": [6] * 6, "num_heads": [6] * 6},
        whole_variant="S",
    ),
    Entry("RealCUGAN", "UpCunet2x", scale=2),
    Entry("RealCUGAN", "UpCunet2x", {"pro": True}, scale=2, variant="pro"),
    Entry("RealCUGAN", "UpCunet2x_fast", scale=2),
    Entry("RealCUGAN", "UpCunet3x", scale=3),
    Entry("RealCUGAN", "UpCunet4x", scale=4),
    Entry("RestoreFormer", "RestoreFormer"),
    Entry("RetinexFormer", "RetinexFormer", {"stage": 1, "num_blocks": [1, 2, 2]}, variant="LOL"),
    Entry("SAFMN", "SAFMN", {"dim": 36}, scale=4),
    Entry("SAFMNBCIE", "SAFMNBCIE", {"dim": 48}),
    Entry("SCUNet", "SCUNet"),
    Entry("SPAN", "SPAN", {"num_in_ch": 3, "num_out_ch": 3}, scale=4),
    Entry(
        "SeemoRe",
        "SeemoRe",
        {"num_experts": 3, "embedding_dim": 36, "lr_space": "exp"},
        scale=4,
        fallback="a tensor's value selects the expert module",
        variant="T",
    ),
    Entry("SwiftSRGAN", "SwiftSRGAN", scale=4),
    Entry(
        "Swin2SR",
        "Swin2SR",
        {**_SWIN, "embed_dim": 60, "upscale": 2, "upsampler": "pixelshuffledirect"},
        scale=2,
        variant="light",
    ),
    Entry(
        "SwinIR",
        "SwinIR",
        {**_SWIN, "embed_dim": 60, "upscale": 4, "upsampler": "pixelshuffledirect"},
        scale=4,
        variant="light",
    ),
    Entry(
        "SwinIR",
        "SwinIR",
        {
            "embed_dim": 180,
            "window_size": 8,
            "depths": (6, 6),
            "num_heads": (6, 6),
            "mlp_ratio": 2.0,
            "upscale": 4,
            "upsampler": "nearest+conv",
            "resi_connection": "3conv",
        },
        scale=4,
        variant="real",
        about="real-world; 2 groups, published with 9",
        whole={"embed_dim": 240, "depths": (6,) * 9, "num_heads": (8,) * 9},
        whole_variant="real",
    ),
    Entry(
        "Uformer", "Uformer", {"embed_dim": 16, "modulator": True}, ((1, 3, 128, 128),), variant="T"
    ),
)
