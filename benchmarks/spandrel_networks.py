"""Spandrel's networks of traiNNer-redux's table: x4, 480x640 pixels, under CUDA's autocast.

Of each the table's name and variant, the class in `spandrel.architectures`, and hyper-parameters;
a network counts only if it has as many parameters as the table says, to 0.1 %. Masks of windows are
made on the CPU in some, so a trace of those takes minutes.
"""

from __future__ import annotations

import csv
import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from srprof.call import Call
from srprof.presets import applied, find

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from spandrel_zoo import ENTRIES, import_spandrel  # type: ignore[import-not-found]

INPUT = (1, 3, 480, 640)
SCALE = "4"
_DTYPES = {"fp16": "float16", "bf16": "bfloat16"}
LAYOUTS = ("contiguous", "channels-last")
_SWIN = {
    "window_size": 8, "mlp_ratio": 2.0, "upscale": 4, "depths": (6,) * 4, "num_heads": (6,) * 4,
    "embed_dim": 60, "upsampler": "pixelshuffledirect",
}  # fmt: skip
_WIDE = {
    "depths": (6,) * 6, "num_heads": (6,) * 6, "embed_dim": 180, "upsampler": "pixelshuffle"
}  # fmt: skip
_SPAN = {"num_in_ch": 3, "num_out_ch": 3}

#: By the table's name and variant.
NETWORKS: Mapping[tuple[str, str], tuple[str, str, Mapping[str, Any]]] = {
    ("compact", ""): ("Compact", "Compact", {}),
    ("ultracompact", ""): ("Compact", "Compact", {"num_conv": 8}),
    ("superultracompact", ""): ("Compact", "Compact", {"num_feat": 24, "num_conv": 8}),
    ("craft", ""): ("CRAFT", "CRAFT", {}),
    ("dctlsa", ""): ("DCTLSA", "DCTLSA", {}),
    ("ditn_real", ""): ("DITN", "DITN", {}),
    ("drct", ""): (
        *("DRCT", "DRCT"),
        {"depths": (6,) * 6, "num_heads": (6,) * 6, "upscale": 4, "upsampler": "pixelshuffle"},
    ),
    ("esrgan", "use_pixel_unshuffle=False"): ("ESRGAN", "ESRGAN", {}),
    ("esrgan_lite", ""): ("ESRGAN", "ESRGAN", {"num_filters": 32, "num_blocks": 12}),
    ("grl_t", ""): ("GRL", "GRL", next(e.hyper for e in ENTRIES if e.architecture == "GRL")),
    ("hat_s", ""): (
        *("HAT", "HAT"),
        {
            **{"embed_dim": 144, "depths": (6,) * 6, "num_heads": (6,) * 6, "window_size": 16},
            **{"compress_ratio": 24, "squeeze_factor": 24, "mlp_ratio": 2, "upscale": 4},
        },
    ),
    ("moesr2", ""): ("MoESR", "MoESR", {}),
    ("mosr", ""): ("MoSR", "MoSR", {}),
    ("mosr_t", ""): ("MoSR", "MoSR", {"n_block": 5, "dim": 48}),
    ("omnisr", ""): ("OmniSR", "OmniSR", {"block_num": 1, "res_num": 5}),
    ("rcan", ""): ("RCAN", "RCAN", {}),
    ("realcugan", ""): ("RealCUGAN", "UpCunet4x", {"pro": True}),
    **{
        ("realplksr", f"{upsampler} layer_norm={norm}"): (
            *("PLKSR", "RealPLKSR"),
            {"dysample": upsampler == "dysample", "layer_norm": norm},
        )
        for upsampler in ("dysample", "pixelshuffle")
        for norm in (False, True)
    },
    ("safmn", ""): ("SAFMN", "SAFMN", {"dim": 36}),
    ("safmn_l", ""): ("SAFMN", "SAFMN", {"dim": 128, "n_blocks": 16}),
    ("seemore_t", ""): (
        *("SeemoRe", "SeemoRe"),
        {"num_experts": 3, "embedding_dim": 36, "lr_space": "exp"},
    ),
    ("span", ""): ("SPAN", "SPAN", {**_SPAN, "feature_channels": 52}),
    ("span_s", ""): ("SPAN", "SPAN", {**_SPAN, "feature_channels": 48}),
    ("swinir_s", ""): ("SwinIR", "SwinIR", _SWIN),
    ("swinir_m", ""): ("SwinIR", "SwinIR", {**_SWIN, **_WIDE}),
    ("swin2sr_s", ""): ("Swin2SR", "Swin2SR", _SWIN),
}


@dataclass(frozen=True)
class Published:
    """A row of the table.

    Attributes:
        dtype: of the region of autocast. ms, nbytes: by layout.
    """

    name: str
    dtype: str
    ms: Mapping[str, float]
    nbytes: Mapping[str, float]

    def call(self, network: nn.Module, layout: str) -> Call:
        """The call that traiNNer-redux's script makes of the network."""
        call = Call(network, (INPUT,), dtype=self.dtype, channels_last=layout == LAYOUTS[1])
        return applied(call, find("trainner"))


def networks(published: Path) -> Iterator[tuple[Published, nn.Module]]:
    """Each row and its network."""
    import_spandrel()
    with published.open(encoding="utf-8") as file:
        rows = {
            (row["name"], row["variant"]): row
            for row in csv.DictReader(file)
            if row["scale"] == SCALE
        }
    for key, (architecture, name, hyper) in NETWORKS.items():
        module = importlib.import_module(f"spandrel.architectures.{architecture}")
        network = getattr(module, name)(**hyper).eval()
        row, own = rows[key], sum(p.numel() for p in network.parameters())
        if abs(own / int(row["params"]) - 1) > 1e-3:
            raise SystemExit(f"{key} has {own} parameters, {row['params']} were published")
        ms = {layout: 1e3 * float(row[f"seconds_{_word(layout)}"]) for layout in LAYOUTS}
        nbytes = {layout: 2**30 * float(row[f"gib_{_word(layout)}"]) for layout in LAYOUTS}
        yield Published(" ".join(filter(None, key)), _DTYPES[row["dtype"]], ms, nbytes), network


def _word(layout: str) -> str:
    return layout.replace("-", "_")
