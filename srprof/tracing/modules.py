"""Modules as the challenge's hooks see them: by class, and by what their constructors noted.

Nothing here reads a module's `weight`: in a parametrized module, or in a block that fuses its
branches, it is computed whenever somebody asks, and would be part of the run.
"""

from __future__ import annotations

from torch import nn

from srprof.blame import module_name
from srprof.cost.complexity import COUNTED
from srprof.networks import named_modules, parameters
from srprof.records import ModuleInfo

_COUNTED = {name: getattr(nn, name) for name in COUNTED}


def kind_of(module: nn.Module) -> str:
    """The class that the challenge counts a module as, else the module's own class.

    What only has the name of a class of torch's is of another module, and is named with it.
    """
    for name, counted in _COUNTED.items():
        if isinstance(module, counted):
            return name
    cls = type(module)
    return cls.__name__ if getattr(nn, cls.__name__, None) is cls else _full_name(cls)


def _full_name(cls: type) -> str:
    return f"{module_name(cls)}.{cls.__qualname__}"


def registered(model: nn.Module) -> tuple[ModuleInfo, ...]:
    """Every module of a model, parents before their children; one that is shared once."""
    return tuple(
        ModuleInfo(
            path,
            type(module).__name__,
            sum(p.numel() for p in parameters(module)),
            _padded_by_a_word(module),
        )
        for path, module in named_modules(model)
    )


def _padded_by_a_word(module: nn.Module) -> bool:
    """Whether a convolution hands a word on as its padding; where it pads by itself, none does."""
    facts = vars(module)
    return isinstance(facts.get("padding"), str) and facts.get("padding_mode") == "zeros"


def weight_shape(module: nn.Module) -> tuple[int, ...]:
    """Shape of the weight with which torch's constructor made such a module; () if it has none.

    Of a counted module whose attributes do not say it, the shape of the parameter.
    """
    facts = vars(module)
    try:
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            sides = facts["out_channels"], facts["in_channels"]
            first, second = sides[::-1] if isinstance(module, nn.ConvTranspose2d) else sides
            return (first, second // facts["groups"], *facts["kernel_size"])
        if isinstance(module, nn.Linear):
            return facts["out_features"], facts["in_features"]
        if isinstance(module, nn.BatchNorm2d):
            return (facts["num_features"],) if facts["affine"] else ()
    except (KeyError, TypeError):  # a subclass that does not call torch's constructor
        weight = module._parameters.get("weight")
        return () if weight is None else tuple(weight.shape)
    return ()
