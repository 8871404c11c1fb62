"""spandrel imported, where need be without torchvision's binary extension.

spandrel imports torchvision, whose binary extension does not load against every build of torch
(PyPI's CPU wheel of torch beside PyPI's torchvision, for one): `import torchvision` then fails
with "operator torchvision::nms does not exist". `import_spandrel` declares the two operators that
torchvision's Python code describes at import, without kernels, and only after a plain import has
failed so. No network of spandrel calls an operator of torchvision: LaMa and RestoreFormer use
`torchvision.transforms.functional`, which is Python over torch. (One that did, by
`deform_conv2d`, would run neither on the meta device nor on the CPU there, because torchvision
registers its meta kernels together with the extension.)
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import torch


def import_spandrel() -> ModuleType:
    """The package, where need be with torchvision's operators declared; see the module's text.

    Raises:
        ImportError: spandrel or something that it needs is not installed.
    """
    import_torchvision()
    return importlib.import_module("spandrel")


#: What `torchvision._meta_registrations` describes even where the extension is missing.
_TORCHVISION_OPERATORS = ("nms", "qnms")
_DECLARED: list[torch.library.Library] = []


def import_torchvision() -> ModuleType:
    """torchvision, whether or not its binary extension loads."""
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]  # what the failed import left behind
    library = torch.library.Library("torchvision", "DEF")
    for operator in _TORCHVISION_OPERATORS:
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _DECLARED.append(library)  # the declarations live as long as it does
    return importlib.import_module("torchvision")
