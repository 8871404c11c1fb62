"""Workload: a model and what it is called with, ready to be run again and again.

Each run gets a fresh instance: built anew from a SPEC, or copied from the caller's model, which
is never moved, switched, hooked or otherwise touched.
"""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from srprof import spec as specs
from srprof.blame import blame, home, raised_in_torch
from srprof.call import Call
from srprof.copying import untouched
from srprof.dtypes import USUAL, floating, image_dtype
from srprof.errors import InputError, ModelError, SrprofError, user_raised
from srprof.failures import model_error
from srprof.inputs import RUN_DTYPES, Keywords, TensorSpec, read_inputs, with_parts
from srprof.loading import Arguments, Environment, load_arguments, load_factory
from srprof.meta_kernels import Shortcuts
from srprof.networks import converted, mark, named_modules, put_in_mode, switch, weights
from srprof.operators.imports import standing
from srprof.paths import place
from srprof.placing import NotOnMetaError, copy_model, moved
from srprof.redirect import NO_GPU, without_gpu
from srprof.running import alone
from srprof.timeout import begin
from srprof.weights import load_weights

#: Frames that a network's calls may be deep: three times as many as Python lets them be by itself.
_CALLS = 3000
#: The dtype of a region of torch.autocast for CUDA where none is given.
_REGIONS = "float16"
#: How a constructor fails that puts tensors on a GPU, or takes them back from its stand-in.
_NO_DEVICE = re.compile(NO_GPU.pattern + r"|no data|\bmeta\b", re.IGNORECASE)


@dataclass
class Own:
    """What is known of a network, once one of it was built or has run.

    Attributes:
        image: dtype of inputs that have none of their own; None until it is known.
        weights: dtypes of the floating-point parameters and buffers.
        network: its class.
        works_at_once: what it does in main memory cannot wait until a value is read.
    """

    image: str | None = None
    weights: frozenset[str] = frozenset()
    network: type | None = None
    works_at_once: bool = False


class Instance(NamedTuple):
    """One fresh model and its arguments, and the region in which it is called."""

    model: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    region: Callable[[], AbstractContextManager[Any]] = nullcontext


@dataclass(frozen=True)
class Workload:
    """A model and the arguments of one call.

    Attributes:
        name: for titles; spec: what the user wrote, or the class of the model he gave.
        build: gives a fresh model on a device; it may keep nothing of it.
        args, kwargs: the call's arguments; tensors as `TensorSpec` or example tensors.
        dtype: floating-point dtype of parameters, buffers and inputs; None leaves each as it is.
        autocast: dtype of the region of torch.autocast that it is called in; None is no region.
        channels_last, images_channels_last: 4-d tensors, or 4-d inputs alone, are in that format.
        previous_result: the caller still holds what a call like this one gave.
        copied_result: he copies the result on the device.
        warm: libraries have what they keep.
        scale, width: upscaling factor and trunk channels where the zoo knows them.
        training: the model is to be trained, and not only called.
        environment: gives the context in which the model's code finds its modules; active while
            it is built and run.
        forget: has that code imported anew for the next instance.
        compiled: parts of the caller's model that `torch.compile` was asked to compile.
    """

    name: str
    spec: str
    build: Callable[[str], nn.Module]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    dtype: str | None = None
    autocast: str | None = None
    channels_last: bool = False
    images_channels_last: bool = False
    previous_result: bool = False
    copied_result: bool = False
    warm: bool = False
    scale: int | None = None
    width: int | None = None
    training: bool = False
    environment: Callable[[], AbstractContextManager[None]] = nullcontext
    forget: Callable[[], None] = lambda: None
    compiled: frozenset[str] = frozenset()
    own: Own = field(default_factory=Own)

    def hyper_parameters(self) -> dict[str, Any]:
        """What the SPEC's factory is called with, by name; {} without a SPEC or a factory.

        Raises:
            InputError, ModelError: the SPEC's code cannot be imported.
        """
        if not isinstance(self.build, _Builder):
            return {}
        with self.environment():
            return self.build.arguments().values

    def with_hyper_parameter(self, name: str, value: Any) -> Workload:
        """The same call of the SPEC's network with another value of one.

        The code is imported once for both; a checkpoint's weights, which may not fit, are left out.
        """
        assert isinstance(self.build, _Builder)
        begin()  # of this one's time
        with self.environment():
            builder = self.build.with_argument(name, value)
        return replace(
            self,
            spec=builder.spec.text,
            build=builder,
            forget=builder.forget,
            scale=_scale_of(builder.spec),
            width=None,
        )

    def in_dtype(self, dtype: str) -> Workload:
        """The same in a dtype: that of the region, where it is called in one."""
        if self.autocast is None:
            return replace(self, dtype=dtype)
        return replace(self, autocast=dtype)

    @property
    def region(self) -> Callable[[], AbstractContextManager[Any]]:
        """The region in which the model is called."""
        if self.autocast is None:
            return nullcontext
        return partial(torch.autocast, "cuda", dtype=getattr(torch, self.autocast))

    @property
    def run_dtype(self) -> str:
        """The dtype that the network runs in, "own" if that is not one."""
        if self.autocast or self.dtype:
            return self.autocast or self.dtype or USUAL
        dtypes = self.own.weights | {self.image_dtype}
        return next(iter(dtypes)) if len(dtypes) == 1 else "own"

    @property
    def image_dtype(self) -> str:
        """The dtype of inputs that have none of their own, as far as it is known."""
        return self.dtype or self.own.image or USUAL

    def instance(self, device: str) -> Instance:
        """A fresh model in its mode with its arguments, both on the device.

        "cuda-fake" is asked for inside torch's fake-tensor mode: a move makes tensors fake.
        """
        if device != "cuda-fake":
            return self.prepare(self.build(device), device)
        from torch._subclasses.fake_tensor import unset_fake_temporarily

        with unset_fake_temporarily():  # torch cannot change the dtype of what is fake already
            model = self._in_form(self.build("cpu"), "cpu")
        return self._ready(converted(model, "cuda:0"), device)

    def prepare(self, model: nn.Module, device: str) -> Instance:
        """A model as it was built, made ready for the call on the device."""
        return self._ready(self._in_form(model, device), device)

    def _in_form(self, model: nn.Module, device: str) -> nn.Module:
        """The model in its mode, and in the dtype and the layout that are asked for."""
        self.own.network = type(model)
        model = self._switched(model, device)
        dtype = None if self.dtype is None else getattr(torch, self.dtype)
        if self.channels_last and all(weight.dim() != 5 for weight in weights(model)):
            return converted(model, dtype=dtype, memory_format=torch.channels_last)
        if self.channels_last:  # torch's own move takes no weights of 3-d convolutions
            for weight in weights(model):
                if weight.dim() == 4:
                    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        if dtype and any(t.is_floating_point() and t.dtype != dtype for t in weights(model)):
            return converted(model, dtype=dtype)
        return model

    def _ready(self, model: nn.Module, device: str) -> Instance:
        self._look_at(model)
        instance = self.call_of(model, device)
        if any(map(is_lazy, weights(model))):  # its first call only gives parameters shapes
            with torch.no_grad():
                model(*instance.args, **instance.kwargs)
        return instance

    def _switched(self, model: nn.Module, device: str) -> nn.Module:
        """The model in its mode, by its own code where that works."""
        if device != "meta":
            put_in_mode(model, self.training)
            return model
        try:
            switch(model, self.training)
        except NotImplementedError:  # exported programs
            mark(model, self.training)
        except user_raised():  # it may do with data what it cannot do without
            return moved(self._switched(self.build("cpu"), "cpu"), device)
        return model

    def call_of(self, model: nn.Module, device: str) -> Instance:
        """A model that is ready, with fresh arguments."""
        return Instance(model, *self.arguments(device), self.region)

    def arguments(self, device: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Fresh arguments of the call, on the device."""
        if self.dtype is None and self.own.image is None:
            self._look_at(self._on_meta())
        first = device
        if device == "cuda-fake":  # which only takes what was made elsewhere
            first, device = "cpu", "cuda:0"
        args = tuple(self._argument(value, device, first) for value in self.args)
        kwargs = {key: self._argument(value, device, first) for key, value in self.kwargs.items()}
        return args, kwargs

    def _argument(self, value: Any, device: str, first: str) -> Any:
        """A fresh value on the device, which gets its dtype and layout on the first one."""
        if isinstance(value, TensorSpec):
            dtype = getattr(torch, value.dtype or self.image_dtype)
            make = torch.rand if dtype.is_floating_point else torch.zeros
            there = "cpu" if device.startswith("cuda") else device
            value = make(value.shape, dtype=dtype, device=there).to(first)
        elif isinstance(value, torch.Tensor):
            value = value.detach().to(first, copy=True)
            if self.dtype is not None and value.is_floating_point():
                value = value.to(getattr(torch, self.dtype))
        else:
            return with_parts(value, lambda _, part: self._argument(part, device, first))
        if (self.channels_last or self.images_channels_last) and value.dim() == 4:
            value = value.contiguous(memory_format=torch.channels_last)
        return value.to(device)

    def _look_at(self, model: nn.Module) -> None:
        """Note the dtypes of a model of ours, and in which it takes images."""
        if self.dtype is not None or self.own.image is not None:
            return
        own = floating(model)
        self.own.weights = frozenset(own)
        self.own.image = image_dtype(own, self._call_on_meta)

    def _on_meta(self) -> nn.Module:
        try:
            return self.build("meta")
        except NotOnMetaError:
            return self.build("cpu")

    def _call_on_meta(self, dtype: str) -> None:
        """Call a model of its own with images of a dtype; raises whatever that does."""
        from torch._subclasses.fake_tensor import unset_fake_temporarily

        tried = replace(self, own=Own(image=dtype))
        with unset_fake_temporarily():
            model, args, kwargs, _ = tried.prepare(self.build("meta"), "meta")
            model(*args, **kwargs)


def resolve(call: Call) -> Workload:
    """What a call says, ready to be run.

    Raises:
        InputError: the SPEC, an input or the dtype is none; nothing of the model was run.
    """
    begin()  # of the network's time
    model, inputs, dtype, own = call.spec, call.inputs, call.dtype, Own()
    if dtype is not None and dtype not in RUN_DTYPES:
        raise InputError(f"dtype {dtype!r} is not one of {', '.join(RUN_DTYPES)}")
    form: dict[str, Any] = {**call.form, "channels_last": call.channels_last}
    form["autocast"] = (dtype or _REGIONS) if call.autocast else None
    if call.autocast:
        dtype = None
    if isinstance(model, str):
        spec = specs.parse(model)
        network = spec.network
        builder = _Builder(spec, own, call.weights)
        environment = partial(_running, spec.name, own, builder.environment.active)
        with environment():
            signature = builder.signature_for(inputs)
        return Workload(
            name=spec.name,
            spec=spec.text,
            build=builder,
            environment=environment,
            own=own,
            forget=builder.forget,
            scale=_scale_of(spec),
            width=network.width if network and not spec.kwargs and not spec.args else None,
            **_arguments(inputs, dtype, spec.channels, signature),
            dtype=dtype,
            **form,
        )
    if call.weights is not None:
        raise InputError("weights go with a SPEC; load them into your own model yourself")
    if isinstance(model, torch.export.ExportedProgram):
        if not inputs and model.example_inputs is not None:
            args, kwargs = model.example_inputs
            inputs = (*args, dict(kwargs))
        model = model.module()
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    if not isinstance(model, nn.Module):
        raise InputError(
            f"{type(model).__name__} is no model: give a SPEC string, an nn.Module, a GraphModule "
            "or an exported program"
        )
    name = type(model).__name__
    return Workload(
        name=name,
        spec=type(model).__qualname__,
        build=partial(copy_model, _initialised(model)),
        environment=partial(_running, name, own, partial(untouched, model)),
        own=own,
        **_arguments(inputs, dtype, 3, _signature(model)),
        dtype=dtype,
        **form,
        compiled=compiled_parts(call.spec),
    )


def _scale_of(spec: specs.Spec) -> int | None:
    """The upscaling factor, where the zoo knows it."""
    network = spec.network
    return dict(spec.kwargs).get("scale", network.scale) if network else None


@contextmanager
def _running(
    name: str, own: Own, environment: Callable[[], AbstractContextManager[None]]
) -> Iterator[None]:
    """What holds while a network's code runs: where it finds its modules, and how deep it may call.

    Behind all that runs the code for a purpose of its own, what a line of the user's raised, torch
    did with the network, or went too deep, is the network's error.
    """
    try:
        with alone(), _room_for_calls(), standing(), environment():
            yield
    except (SrprofError, torch.cuda.OutOfMemoryError):
        raise
    except user_raised() as error:
        too_deep = issubclass(type(error), RecursionError)
        if not (too_deep or blame(error).file or raised_in_torch(error)):
            raise
        raise model_error(name, error, own.network) from error


@contextmanager
def _room_for_calls() -> Iterator[None]:
    """A recursion limit with room for torch's hooks, and for copies, of each nested module."""
    before = sys.getrecursionlimit()
    room = max(before, _CALLS)
    sys.setrecursionlimit(room)
    try:
        yield
    finally:
        if sys.getrecursionlimit() == room:  # else the network has set it
            sys.setrecursionlimit(before)


def compiled_parts(model: Any) -> frozenset[str]:
    """Paths of the parts of a model that `torch.compile` was asked to compile."""
    frames = sys.modules.get("torch._dynamo.eval_frame")
    if frames is None or not isinstance(model, nn.Module):
        return frozenset()
    return frozenset(
        path.replace("_orig_mod", "").strip(".")
        for path, module in named_modules(model)
        if isinstance(module, frames.OptimizedModule) or module._compiled_call_impl is not None
    )


def _arguments(
    inputs: Sequence[Any],
    dtype: str | None,
    channels: int,
    signature: inspect.Signature | None,
) -> dict[str, Any]:
    if not inputs:
        raise InputError("no input: give a shape such as (1, 3, 256, 256)")
    args, kwargs = read_inputs(inputs, dtype or "", channels, signature)
    return {"args": args, "kwargs": kwargs}


def _signature(model: nn.Module) -> inspect.Signature | None:
    """What the model's call takes; None where Python does not say."""
    try:
        return inspect.signature(model if hasattr(model, "__signature__") else model.forward)
    except (TypeError, ValueError):
        return None


class _Builder:
    """Builds the SPEC's model on a device, importing its code once.

    Where a constructor reads a tensor's values, it is built on the CPU and moved to meta.
    """

    def __init__(
        self,
        spec: specs.Spec,
        own: Own,
        weights: str | None = None,
        environment: Environment | None = None,
    ) -> None:
        self.environment = environment or Environment(spec)
        self.spec = spec
        self._own = own
        self._weights = weights
        self._begin()

    def _begin(self) -> None:
        self._factory: Callable[[], Any] | None = None
        self._on_cpu_only = bool(self.spec.checkpoint or self._weights)

    def forget(self) -> None:
        """Import the code anew for the next model: it may find another machine."""
        self.environment.forget()
        self._begin()

    def arguments(self) -> Arguments:
        """What the factory is called with. The environment must be active."""
        with user_errors(self._building(), self._own):
            return self.environment.imported(partial(load_arguments, self.spec))

    def with_argument(self, name: str, value: Any) -> _Builder:
        """One of the same code, with another argument. The environment must be active."""
        spec = self.spec.with_argument(name, value, self.arguments().by_place)
        return _Builder(spec, self._own, environment=self.environment)

    def _building(self) -> str:
        return f"{self.spec.text}: building the model"

    def signature_for(self, inputs: Sequence[Any]) -> inspect.Signature | None:
        """What the model's call takes, from one that is built for it; None if no input asks.

        A mapping does: it is keyword arguments, or one argument. The environment must be active.
        """
        if all(isinstance(i, Keywords) or not isinstance(i, Mapping) for i in inputs):
            return None
        with torch.random.fork_rng(devices=[]):
            try:
                return _signature(self("meta"))
            except NotOnMetaError:
                return _signature(self("cpu"))

    def __call__(self, device: str) -> nn.Module:
        building = self._building()
        if self._factory is None:
            with user_errors(building, self._own):
                self._factory = self.environment.imported(partial(load_factory, self.spec))
        if device == "meta" and not self._on_cpu_only:
            try:
                return moved(self._built_without_gpu(self._factory, device), device)
            except InputError:
                raise
            except user_raised():
                self._on_cpu_only = True
        with user_errors(building, self._own):
            model = self._built_without_gpu(self._factory, "cpu")
        if self._weights is not None:
            with warnings.catch_warnings():  # what the constructor put on the GPU has no data
                warnings.filterwarnings("ignore", ".*copying from a non-meta parameter")
                model = load_weights(model, self._weights)
        if device == "cpu" and not any(w.device.type == "cuda" for w in weights(model)):
            return model  # what stands on meta in a GPU's place stays there
        return moved(model, device)

    def _built_without_gpu(self, factory: Callable[[], Any], device: str) -> nn.Module:
        """The model on a device, with what its constructor puts on a GPU that is not there."""
        refusal = NO_GPU if device == "meta" else _NO_DEVICE
        return without_gpu(partial(self._built, factory, device), refusal, device)

    def _built(self, factory: Callable[[], Any], device: str) -> nn.Module:
        with _as_in_a_fresh_program(device):
            model = factory()
        if isinstance(model, torch.export.ExportedProgram):
            model = model.module()
        if not isinstance(model, nn.Module):
            raise InputError(
                f"{self.spec.text!r} returned {type(model).__name__}, not an nn.Module: name a "
                "class or function that returns the network"
            )
        self._own.network = type(model)
        return _initialised(model)


def _initialised(model: nn.Module) -> nn.Module:
    """The model, all of whose parts must have been made by torch's constructor too."""
    for path, module in named_modules(model):
        if getattr(module, "_modules", None) is None:
            cls, where = type(module), home(type(module))
            at = f" at {place(where.file, where.line)}" if where.file else ""
            raise ModelError(
                f"{path or 'the network'} was made without torch's constructor: call "
                f"super().__init__() first in {cls.__qualname__}.__init__{at}",
                file=where.file,
                line=where.line,
            )
    return model


@contextmanager
def _as_in_a_fresh_program(device: str) -> Iterator[None]:
    """Tensors are made on the device, and as float32, whatever the caller's program has set."""
    dtype, plain = torch.get_default_dtype(), getattr(torch, USUAL)
    torch.set_default_dtype(plain)
    try:
        there = torch.get_default_device().type == device
        with (
            nullcontext() if there else torch.device(device),
            Shortcuts() if device == "meta" else nullcontext(),  # type: ignore[no-untyped-call]
        ):
            yield
    finally:
        if torch.get_default_dtype() == plain:  # else the network has set it, for its run too
            torch.set_default_dtype(dtype)


@contextmanager
def user_errors(doing: str, own: Own | None = None) -> Iterator[None]:
    """Run the user's code: whatever it raises in here becomes a `ModelError` with its line.

    `own` knows the network's class, which has it where torch raises for no line of the user's.
    """
    try:
        yield
    except (SrprofError, NotOnMetaError, torch.cuda.OutOfMemoryError):
        raise
    except user_raised() as error:
        raise model_error(doing, error, None if own is None else own.network) from error
