"""Settings of the caller's, each in a row: put back after a run, and named in the user's words."""

from __future__ import annotations

import gc
import itertools
import random
import signal

import pytest
import torch
from torch import nn

import srprof
from srprof.tracing import isolation
from srprof.tracing.settings import Setting, _Frozen, read, settings

SHAPE = (1, 3, 8, 8)

#: What a network does, and what a note says of it.
CHANGES = {
    "torch.backends.mkldnn.enabled = False": "torch.backends.mkldnn.enabled to False",
    "torch.autocast('cpu').__enter__()": 'torch.autocast("cpu") to True',
    "torch.set_autocast_dtype('cpu', torch.float16)": 'dtype of torch.autocast("cpu")',
    "torch.set_autocast_dtype('cuda', torch.bfloat16)": 'dtype of torch.autocast("cuda")',
    "torch.backends.quantized.engine = 'onednn'": "torch.backends.quantized.engine to onednn",
    "torch.set_warn_always(True)": "torch.set_warn_always to True",
    "torch.utils.deterministic.fill_uninitialized_memory = False": "fill_uninitialized_memory",
    "torch._C._set_multithreading_enabled(False)": "torch.autograd's multithreading to False",
    "torch.set_printoptions(precision=9)": "torch.set_printoptions",
    "nn.modules.module.register_module_forward_hook(print)": "the hooks of all modules",
    "gc.freeze()": "gc.freeze()",
    "gc.set_threshold(5)": "gc.set_threshold",
    "warnings.filterwarnings('ignore')": "warnings.filterwarnings",
    "logging.disable(logging.ERROR)": "logging.disable to 40",
    "logging.basicConfig(level=3, force=True)": "logging.basicConfig",
    "numpy.seterr(divide='raise')": "numpy.seterr (divide)",
    "numpy.set_printoptions(precision=3)": "numpy.set_printoptions",
    "os.umask(0o077)": "the umask to 077",
    "signal.signal(signal.SIGINT, signal.SIG_IGN)": "the handler of SIGINT",
    "signal.setitimer(signal.ITIMER_VIRTUAL, 99, 9)": "ITIMER_VIRTUAL",
    "signal.signal(signal.SIGALRM, print); signal.alarm(99)": "ITIMER_REAL",
    "sys.excepthook = print": "sys.excepthook",
    "threading.excepthook = print": "threading.excepthook",
    "os.environ['OF_THE_NETWORK'] = '1'": "OF_THE_NETWORK in the environment",
    "os.environ = None": "os.environ",
    "sys.argv.append('more')": "sys.argv",
    "sys.path.append('/more')": "sys.path",
    "sys.setswitchinterval(0.5)": "switch interval",
    "torch.set_default_dtype(torch.float64)": "default dtype to torch.float64",
    "torch.set_default_device('meta')": "default device to meta",
    "torch.set_autocast_enabled('cuda', True)": 'torch.autocast("cuda") to True',
    "torch.set_autocast_cache_enabled(False)": "torch.autocast's cache to False",
    "torch.backends.cuda.enable_flash_sdp(False)": "enable_flash_sdp to False",
    "torch.backends.cuda.enable_math_sdp(False)": "enable_math_sdp to False",
    "torch.backends.mha.set_fastpath_enabled(False)": "set_fastpath_enabled to False",
    "torch.__future__.set_swap_module_params_on_conversion(True)": "set_swap_module_params",
    "torch.__future__.set_overwrite_module_params_on_conversion(True)": "set_overwrite_module",
    "torch.backends.opt_einsum.strategy = 'greedy'": "opt_einsum.strategy to greedy",
    "torch.backends.mkldnn.deterministic = True": "torch.backends.mkldnn.deterministic to True",
    "torch.backends.cudnn.benchmark_limit = 3": "cudnn.benchmark_limit to 3",
    "torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False": "allow_fp16",
    "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False": "allow_bf16",
    "sys.unraisablehook = print": "sys.unraisablehook",
    "sys.displayhook = print": "sys.displayhook",
    "builtins.print = len": "replaced print in builtins",
    "n = resource.RLIMIT_NOFILE; resource.setrlimit(n, (300, resource.getrlimit(n)[1]))": "NOFILE",
    "sys.excepthook = type('Odd', (), {'__eq__': lambda *_: 1 / 0})()": "sys.excepthook",
    "locale.setlocale(locale.LC_ALL, 'C.UTF-8')": "the locale to",
}


class Changes(nn.Module):
    """Executes statements of a network's author."""

    def __init__(self, *statements: str) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3)
        self.statements = statements

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        names = "builtins gc locale logging numpy os resource signal sys threading warnings"
        names = [*names.split(), "torch"]
        scope = {name: __import__(name) for name in names} | {"nn": nn}
        for statement in self.statements:
            exec(statement, scope)
        return y


@pytest.fixture(autouse=True)
def nothing_is_frozen(all_in_sight: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what a network freezes cannot be told apart, and is not asked for."""
    monkeypatch.setattr(_Frozen, "_known", False)


def values() -> dict[str, object]:
    return {setting.name: read(setting) for setting in settings()}


def changed(before: dict[str, object]) -> list[str]:
    """Settings that are others than before."""
    return [s.name for s in settings() if s.name in before and read(s) != before[s.name]]


def test_each_setting_is_put_back_and_named():
    before = values()
    for statement, words in CHANGES.items():
        notes = srprof.trace(Changes(statement), SHAPE).notes
        assert any(words in note and "put it back" in note for note in notes), (statement, notes)
        assert not changed(before), statement


def test_all_are_put_back_where_the_network_raises():
    before = values()
    assert before["gc.freeze"] is False
    with pytest.raises(srprof.ModelError, match="enough"):
        srprof.trace(Changes(*CHANGES, "raise ValueError('enough')"), SHAPE)
    with pytest.raises(KeyboardInterrupt):
        srprof.trace(Changes(*CHANGES, "raise KeyboardInterrupt"), SHAPE)
    assert not changed(before)


def test_a_quiet_network_changes_none():
    assert srprof.trace(Changes(), SHAPE).notes == ()


def test_lean_moves_no_random_state_and_names_settings():
    before = values()
    network = Changes("torch.set_warn_always(True)", "torch.rand(3)")
    torch.manual_seed(7), random.seed(7)
    states = torch.get_rng_state(), random.getstate()
    with pytest.warns(UserWarning, match="set_warn_always to True; srprof put it back"):
        lean = srprof.lean(network, SHAPE)
    assert isinstance(lean, nn.Module)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert not changed(before)


def test_what_the_caller_froze_stays_frozen():
    gc.freeze()
    frozen = gc.get_freeze_count()
    assert srprof.trace(Changes("gc.freeze()"), SHAPE).notes == ()
    assert gc.get_freeze_count() >= frozen


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs signals")
def test_a_handler_of_the_network_that_raises_while_all_is_put_back(
    monkeypatch: pytest.MonkeyPatch,
):
    rings, reads = iter([True]), itertools.count()

    def ring(_: object) -> None:
        if next(rings, False):
            signal.raise_signal(signal.SIGUSR1)

    first = Setting("of a test", lambda: next(reads), ring)
    monkeypatch.setattr(isolation, "settings", lambda: [first, *settings()])
    before = values()
    network = Changes("signal.signal(signal.SIGUSR1, lambda *_: 1 / 0)", "sys.argv.append('more')")
    with pytest.raises(ZeroDivisionError):
        srprof.trace(network, SHAPE)
    assert next(rings, None) is None
    assert not changed(before)
