"""Stands in for `basicsr.archs.arch_util`: the helpers that say nothing of a network's shape."""

from collections.abc import Iterable
from itertools import repeat

from torch.nn.init import trunc_normal_

__all__ = ["to_1tuple", "to_2tuple", "to_3tuple", "to_4tuple", "to_ntuple", "trunc_normal_"]


def _times(number):
    def parse(value):
        return value if isinstance(value, Iterable) else tuple(repeat(value, number))

    return parse


to_1tuple, to_2tuple, to_3tuple, to_4tuple = (_times(number) for number in range(1, 5))
to_ntuple = _times
