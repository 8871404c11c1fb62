"""Stands in for `mamba_ssm.modules.mamba_simple`: Mamba's block, by its paper and its parameters.

With causal_conv1d installed, as the package advises: convolution and scan are one function.
"""

import math

import torch
from mamba_ssm.ops.selective_scan_interface import mamba_inner_fn
from torch import nn


class Mamba(nn.Module):
    """A block of Gu and Dao's Mamba (2023): (batch, length, d_model) to the same."""

    def __init__(
        self,
        d_model,
        d_state=16,
        d_conv=4,
        expand=2,
        dt_rank="auto",
        dt_min=0.001,
        dt_max=0.1,
        dt_init="random",
        dt_scale=1.0,
        dt_init_floor=1e-4,
        conv_bias=True,
        bias=False,
        use_fast_path=True,
        layer_idx=None,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.d_model, self.d_state, self.d_conv, self.expand = d_model, d_state, d_conv, expand
        self.d_inner = inner = int(expand * d_model)
        self.dt_rank = rank = math.ceil(d_model / 16) if dt_rank == "auto" else dt_rank
        self.layer_idx = layer_idx
        made = {"device": device, "dtype": dtype}
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=bias, **made)
        self.conv1d = nn.Conv1d(
            inner, inner, d_conv, padding=d_conv - 1, groups=inner, bias=conv_bias, **made
        )
        self.x_proj = nn.Linear(inner, rank + 2 * d_state, bias=False, **made)
        self.dt_proj = nn.Linear(rank, inner, bias=True, **made)
        states = torch.arange(1, d_state + 1, dtype=torch.float32, device=device)
        self.A_log = nn.Parameter(torch.log(states).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner, device=device))
        self.out_proj = nn.Linear(inner, d_model, bias=bias, **made)

    def forward(self, hidden_states, inference_params=None):
        """One call over a whole sequence."""
        if inference_params is not None:
            raise NotImplementedError("what stands in for Mamba does not go step by step")
        batch, length, channels = hidden_states.shape
        tokens = hidden_states.permute(2, 0, 1).reshape(channels, batch * length)
        xz = (self.in_proj.weight @ tokens).reshape(-1, batch, length).permute(1, 0, 2)
        if self.in_proj.bias is not None:
            xz = xz + self.in_proj.bias.to(xz.dtype).unsqueeze(-1)
        decay = -torch.exp(self.A_log.float())
        return mamba_inner_fn(
            xz,
            self.conv1d.weight,
            self.conv1d.bias,
            self.x_proj.weight,
            self.dt_proj.weight,
            self.out_proj.weight,
            self.out_proj.bias,
            decay,
            D=self.D.float(),
            delta_bias=self.dt_proj.bias.float(),
            delta_softplus=True,
        )
