"""The error of a recorded run as its user should see it: where, in which op, what helps."""

from __future__ import annotations

import re

from srprof.blame import blame, first_line, module_name
from srprof.errors import InputError, ModelError
from srprof.failures import is_out_of_memory, model_error
from srprof.tracing.recorder import Recorder
from srprof.words import shape_text
from srprof.workload import Workload

#: What torch says when the meta device, and not the model, is at fault.
_META_AT_FAULT = re.compile(
    r"\bmeta\b|data-dependent|no data!|no fake impl|set_data.*incompatible", re.IGNORECASE
)
_NO_CUDA = "not linked with support for cuda"
_OVERWRITTEN = "gradient computation has been modified by an inplace operation"
#: What helps against some of torch's errors.
_HINTS = {
    r"too small|greater than actual input|less than the corresponding": "; give a larger --input",
    r"not compiled with CUDA|No CUDA GPUs|NVIDIA driver|support for cuda|ATen_cuda"
    r"|requires CUDA support|accelerator device": "; the network asks for a GPU by itself: take "
    "device=x.device instead of .cuda()",
}


class NeedsDataError(Exception):
    """The run needs the values of tensors, which the meta device has not."""


def explain(error: BaseException, workload: Workload, device: str, recorder: Recorder) -> Exception:
    """The error of a recorded run as the user should see it: where, in which op, what helps."""
    message, where = first_line(error), blame(error)
    at_fault = isinstance(error, NotImplementedError) or _META_AT_FAULT.search(message)
    if device == "meta" and at_fault:
        return NeedsDataError(where.describe(error, longest=120))
    if "overflow" in message.lower():
        return InputError(
            f"the input is too large for {workload.name}: a feature map's size overflows what "
            f"torch can count ({message}); give a smaller --input"
        )
    if is_out_of_memory(error):
        return model_error(workload.name, error, workload.own.network)
    of_torch = module_name(type(error)).startswith("torch.") or _NO_CUDA in message.lower()
    if device == "cuda-fake" and (of_torch or at_fault):
        return ModelError(
            f"{workload.spec}: torch's fake tensors cannot run it ({type(error).__name__}: "
            f"{message}); use --trace-on meta or cpu"
        )
    if _OVERWRITTEN in message:
        return ModelError(
            f"{workload.spec} cannot be trained as it is: an in-place op overwrites what backward "
            "needs; take the network's training form (form='train' in the zoo), or the op that is "
            "not in place"
        )
    module = recorder.raised_in
    if not (module or blame(error).file) and (wrong := _WRONG_CALL.search(message)):
        return ModelError(f"{workload.name}: {wrong[0]}; {_how_to_give(wrong[0])}")
    where = blame(error, workload.own.network)
    inside = f" (module {module})" if module else ""
    text = f"{workload.name} raised {where.describe(error)}{inside}"
    if recorder.failed_call is not None:
        op, shapes = recorder.failed_call
        text += f", in {op} of {', '.join(shape_text(s) or 'a scalar' for s in shapes)}"
        if op == "convolution" and not recorder.nodes and shapes[0][1:2] != shapes[1][1:2]:
            text += f"; the network takes {shapes[1][1]} channels: --input 1x{shapes[1][1]}xHxW"
    text += next((hint for error, hint in _HINTS.items() if re.search(error, message)), "")
    return ModelError(text, file=where.file, line=where.line, module=module)


#: What Python says of a call that does not go with a function's arguments.
_WRONG_CALL = re.compile(r"forward\(\) (missing|takes|got) .*")


def _how_to_give(wrong: str) -> str:
    """How the arguments are given that Python misses, or does not know."""
    names = re.findall(r"'(\w+)'", wrong)
    if " missing " in wrong and names:
        said = " ".join(f"--input {name}=SHAPE" for name in names)
        here = ", ".join(f"{name!r}: ..." for name in names)
        return f"give {said}, or SHAPE:int64 for another dtype; from Python {{{here}}}"
    return "give one --input for each argument, NAME=SHAPE for a keyword"
