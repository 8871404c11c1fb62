"""Stands in for `basicsr.archs.arch_util`: helpers of networks."""

from collections.abc import Iterable
from itertools import repeat

from torch import nn
from torch.nn.init import trunc_normal_

__all__ = [
    "default_init_weights",
    "make_layer",
    "to_1tuple",
    "to_2tuple",
    "to_3tuple",
    "to_4tuple",
    "to_ntuple",
    "trunc_normal_",
]


def default_init_weights(module_list, scale=1, bias_fill=0, **kwargs):
    """Weights say nothing of a network's shape: they stay as they are."""


def make_layer(basic_block, num_basic_block, **kwarg):
    """So many blocks, one after the other."""
    return nn.Sequential(*(basic_block(**kwarg) for _ in range(num_basic_block)))


def _times(number):
    def parse(value):
        return value if isinstance(value, Iterable) else tuple(repeat(value, number))

    return parse


to_1tuple, to_2tuple, to_3tuple, to_4tuple = (_times(number) for number in range(1, 5))
to_ntuple = _times
