"""From a checkpoint of FMEN or FMEN-S to the network: its hyper-parameters read off the weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor

from srprof.errors import InputError

from .fmen_net import FMEN, SPELLINGS


def from_state_dict(state: Mapping[str, Tensor]) -> FMEN | None:
    """The FMEN of a checkpoint in either form and spelling, its weights loaded.

    None if the keys are not FMEN's.

    Raises:
        InputError: some keys are missing or of another shape.
    """
    names = dict(state)
    for theirs, ours in SPELLINGS:
        names = {re.sub("^" + re.escape(theirs), ours, key): v for key, v in names.items()}
    needed = ("head.weight", "tail.0.weight", "warmup.1.squeeze.weight", "HFABs.0.squeeze.weight")
    if not all(key in names for key in needed):
        return None
    hfabs = [
        "warmup.1",
        *sorted({key[: key.index(".", 6)] for key in names if key[:6] == "HFABs."}),
    ]
    model = FMEN(
        scale=math.isqrt(names["tail.0.weight"].shape[0] // 3),
        n_feats=names["head.weight"].shape[0],
        mid_feats=names["HFABs.0.squeeze.weight"].shape[0],
        up_blocks=[_blocks(names, hfab) for hfab in hfabs],
        block="erb" if any(".conv1.expand" in k or ".conv1.rep" in k for k in names) else "pb",
        form="train" if "warmup.1.bn1.weight" in names else "inference",
    )
    try:
        model.load_state_dict(names)
    except RuntimeError as error:
        found = " ".join(str(error).split())
        raise InputError(f"the keys are FMEN's, but they do not fit: {found[:400]}") from error
    return model


def _blocks(names: Mapping[str, Tensor], hfab: str) -> int:
    """Number of blocks in an HFAB."""
    found = re.compile(re.escape(hfab) + r"\.convs\.(\d+)\.")
    return len({match[1] for key in names if (match := found.match(key))})
