"""Stands in for `mamba_ssm`: what the package hands on."""

from mamba_ssm.modules.mamba_simple import Mamba
from mamba_ssm.ops.selective_scan_interface import mamba_inner_fn, selective_scan_fn

__all__ = ["Mamba", "mamba_inner_fn", "selective_scan_fn"]
