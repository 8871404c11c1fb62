"""EDSR-baseline (Lim et al., CVPRW 2017): sixteen residual blocks, enlarged in steps.

Parameter names are those of the public code; Table 1 of the FMEN paper exchanges its blocks.
"""

from __future__ import annotations

from torch import Tensor, nn

from srprof.registry import Convention, Network

from .blocks import BlockName, Form, check_scale, conv3x3, make_block, mean_shift, step_upsampler

NETWORKS = (
    Network(
        name="edsr_baseline",
        factory="srprof.models.edsr_net:edsr_baseline",
        title="EDSR-baseline (Lim et al., CVPRW 2017)",
        scale=4,
        scales=(2, 3, 4),
        width=64,
        aliases=("edsr",),
        row="Table 3: EDSR-baseline; Table 1 at x4",
        published={
            2: {"params_K": 1370, "mult_adds_G": 316.2},
            3: {"params_K": 1554, "mult_adds_G": 160.4},
            4: {"params_K": 1518, "mult_adds_G": 114.2, "time_ms": 99.8},
        },
        conventions=(
            Convention(
                "params_K", "without the frozen mean shifts", arguments={"mean_shifts": False}
            ),
            Convention(
                "mult_adds_G", "without the frozen mean shifts", arguments={"mean_shifts": False}
            ),
        ),
        notes="Table 1 exchanges block='rb', 'erb' and 'pb' (99.8 ms, 90.6 ms with ERB); "
        "parameters and MACs stay the same, and so does the eager peak, which is in the tail.",
        merge="srprof.models.merging:merge",
    ),
)


class ResBlock(nn.Module):
    """EDSR's residual block: (N, C, H, W) to the same."""

    def __init__(self, channels: int, res_scale: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(channels, channels), nn.ReLU(inplace=True), conv3x3(channels, channels)
        )
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        res = self.body(x).mul(self.res_scale)
        res += x
        return res


class EDSR(nn.Module):
    """The network: (N, 3, H, W) to (N, 3, scale*H, scale*W)."""

    def __init__(
        self,
        scale: int,
        n_feats: int,
        n_resblocks: int,
        block: BlockName,
        form: Form,
        mean_shifts: bool,
    ) -> None:
        super().__init__()
        check_scale(scale)
        blocks = (
            ResBlock(n_feats, 1)
            if block == "rb"
            else make_block(block, n_feats, form, nn.ReLU(inplace=True))
            for _ in range(n_resblocks)
        )
        self.sub_mean = mean_shift(-1, 255) if mean_shifts else nn.Identity()
        self.add_mean = mean_shift(1, 255) if mean_shifts else nn.Identity()
        self.head = nn.Sequential(conv3x3(3, n_feats))
        self.body = nn.Sequential(*blocks, conv3x3(n_feats, n_feats))
        self.tail = nn.Sequential(step_upsampler(n_feats, scale), conv3x3(n_feats, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.sub_mean(x)
        x = self.head(x)
        res = self.body(x)
        res += x
        x = self.tail(res)
        return self.add_mean(x)


def edsr_baseline(
    scale: int = 4,
    n_feats: int = 64,
    n_resblocks: int = 16,
    block: BlockName = "rb",
    form: Form = "inference",
    mean_shifts: bool = True,
) -> EDSR:
    """EDSR-baseline (1,518K at x4). Input in 0..255, as its mean shifts have it."""
    return EDSR(scale, n_feats, n_resblocks, block, form, mean_shifts)
