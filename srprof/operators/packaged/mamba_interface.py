"""Stands in for `mamba_ssm.ops.selective_scan_interface`: Mamba's block from its convolution on.

The order in which the package's function makes and lets go its tensors; the convolution and the
scan are rules. In a training step the package computes the convolution and the step sizes again in
backward, which this does not. There it is a subclass of `torch.autograd.Function`.
"""

import torch.nn.functional as F
from causal_conv1d import causal_conv1d_fn
from selective_scan_cuda import fwd

from srprof.operators.opaque import opaque


@opaque
def mamba_inner_fn(
    xz,
    conv1d_weight,
    conv1d_bias,
    x_proj_weight,
    delta_proj_weight,
    out_proj_weight,
    out_proj_bias,
    A,  # noqa: N803  (names of the package)
    B=None,  # noqa: N803
    C=None,  # noqa: N803
    D=None,  # noqa: N803
    delta_bias=None,
    B_proj_bias=None,  # noqa: N803
    C_proj_bias=None,  # noqa: N803
    delta_softplus=True,
    checkpoint_lvl=1,
):
    """The gated, scanned and projected sequence (batch, length, channels) of `xz`."""
    batch, _, length = xz.shape
    xz = xz if xz.stride(-1) == 1 else xz.contiguous()
    x, z = xz.chunk(2, dim=1)
    convolved = causal_conv1d_fn(x, conv1d_weight.squeeze(1), conv1d_bias, activation="silu")
    tokens = convolved.permute(0, 2, 1).reshape(batch * length, -1)
    projected = F.linear(tokens, x_proj_weight)
    rank, states = delta_proj_weight.shape[1], A.shape[1] * (2 if A.is_complex() else 1)

    def along(part, bias):
        """A part of the projection, with the sequence innermost."""
        part = part if bias is None else part + bias
        return part.reshape(batch, length, states).permute(0, 2, 1).unsqueeze(1).contiguous()

    delta = (delta_proj_weight @ projected[:, :rank].t()).reshape(-1, batch, length)
    delta = delta.permute(1, 0, 2)
    B = along(projected[:, rank : rank + states], B_proj_bias) if B is None else B  # noqa: N806
    C = along(projected[:, -states:], C_proj_bias) if C is None else C  # noqa: N806
    # what the package keeps for backward it holds until it returns
    _plain, _states, gated = fwd(convolved, delta, A, B, C, D, z, delta_bias, delta_softplus)
    del tokens, convolved, delta
    return F.linear(gated.permute(0, 2, 1), out_proj_weight, out_proj_bias)


def selective_scan_ref(*args, **kwargs):
    """The package's scan step by step in PyTorch, which files import beside the other."""
    raise NotImplementedError("what stands in for mamba_ssm has selective_scan_fn alone")
