"""docs/json.md: the fields of each command's JSON object, from the records' types and real calls.

Where a part of the object is a record, its dataclass says the keys, the types and, in
`Attributes:`, the meanings. What a command puts together by hand is read off a call on a tiny
network. A key that neither explains has its words in `WORDS`; one that has none fails the test.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union

from srprof.codec import Key
from srprof.figures import FIGURES, peak_names

HEAD = """\
# JSON: every field

What `--format json` prints, command by command. Made by `pytest tests/integration/test_json_page.py
--update-golden` from the records' types and from calls on a tiny network, and a test holds it up to
date. Sizes are in bytes, times in milliseconds where the name has no other unit.

`schema` grows when a field changes its meaning; new fields come without a new one, so read those
that you know. `[]` is an entry of a list, `*` any name. What does not apply is `null`. Lists of
numbers, such as shapes, have one row. A node's `index` is its place among the calls, from 0.

The exit codes of every command (`srprof help exit-codes`):

```
"""

#: The classes of what a command prints, by the place in its object: "" is the whole.
RECORDS: Mapping[str, Mapping[str, str]] = {
    "analyze": {"": "analysis.record:AnalysisRecord"},
    "analyze --train": {
        "peak": "memory.training:StepMemory", "phases.*": "memory.training:StepMemory",
        "saved": "memory.training:SavedLine", "inputs": "inputs:TensorSpec",
    },
    "advise": {"inputs": "inputs:TensorSpec"},
    "audit": {
        "": "auditing.record:Audit", "tables.rows.standings.*": "auditing.record:Standing",
    },
    "check": {"checks": "gate.record:Result", "checks.metrics": "gate.record:Row"},
    "diff": {
        "before": "compare.diff:Side", "after": "compare.diff:Side",
        "tensors": "compare.diff:TensorChange", "nodes": "compare.diff:NodeChange",
    },
    "devices": {"": "cost.profiles:Profile"},
    "estimate": {
        "": "estimating.record:Estimate", "graphs": "estimating.record:Variant",
        "checked.*": "estimating.record:Checked", "time": "estimating.record:Times",
    },
    "evaluate": {"": "quality.record:Evaluation", "mean": "quality.record:Means"},
    "fit": {
        "": "sizing.record:Fit", "largest": "sizing.record:SizedCall",
        "next": "sizing.record:SizedCall", "sides": "tiling.sizes:SizeRule",
    },
    "lean": {"outputs": "leaning.comparison:Comparison", "": "leaning.proof:Proof"},
    "lint": {
        "": "linting.record:Lint", "checks": "linting.record:Check",
        "checks.findings": "linting.record:Finding", "score": "linting.record:Standing",
        "score.terms": "linting.record:Term", "score.edits": "linting.record:Price",
        "score.widths": "linting.record:Price",
    },
    "list": {"": "registry:Network"},
    "measure": {
        "": "measuring.record:Measurement", "latency.summary": "measuring.statistics:Summary",
    },
    "rank": {"scoring": "compare.scoring:Scoring", "rows.origins.*": "compare.ranking:Origin"},
    "spectrum": {},
    "sweep": {},
    "train": {"config": "training.config:TrainingConfig"},
    "ablate": {"variants.run.config": "training.config:TrainingConfig"},
    "merge": {},
    "calibrate": {},
    "time": {"device": "measuring.record:Device", "measured": "measuring.record:Latency"},
    "validate": {
        "": "compare.validate:Validations", "validations": "compare.validate:Validation",
        "validations.peaks": "compare.validate:PeakCheck",
        "validations.worst": "compare.validate:NodeCheck",
        "validations.workspace_by_op": "measuring.record:OpWorkspace",
    },
}  # fmt: skip

#: Objects whose keys are data: names of modules, of devices' operations, of peaks.
OPEN = frozenset(
    "uncounted by_bound by_module environment published arguments compute relative bandwidth_share "
    "layout tensor host spread source metrics phases origins ranks marks tracks values".split()
)

#: What docstrings do not say, by the end of the path; the longest that fits is taken.
WORDS: Mapping[str, str] = dict(
    line.split(": ", 1)
    for line in """\
estimate/version: of the file's form
model.channels: of its image
advise/widths: with a profile, one entry for each argument that is a width
widths.present: its value now
widths.best: the fastest value that is not narrower than the present one
rows.value: of the argument
rows.same_size: whether the result is of the same size
rows.dominated_by: a wider value that is as fast or faster
modules.peak_node: index of the node at which its own peak is
lean/bound: bytes that the eager peak is not below in any order of the calls
lean/gap: by what share of the bound the eager peak lies above it
measured_on_gpu: median times and peaks on the GPU, with `--verify` and a GPU
lean/objective: what was to be least on the profile's device
lean/backend: what runs the plans
lint/failed: whether a check failed
lint/score: the standing; null where there is none
unscored: why there is no score
checks.findings: what it found, at one place each
checks.status: the worst of its findings
lean/widths: channels that were filled up, and to how many
lean/ended: calls before which filled channels had to end
placements.ranks: place beside the published rows, by metric
placements.tracks: place in each track
train/bicubic: what enlargement alone gives on the validation images
ablate/bicubic: what enlargement alone gives on the validation images
run.bicubic: what enlargement alone gives there
validation: on the validation images
psnr_unrounded_dB: PSNR before images are rounded to 8 bits
l1: mean absolute difference
variants: one entry for each variant
training_peak: predicted peak of a training step
below_bicubic: whether its L1 is below bicubic's
run: what its training gave
config: the run's settings
predicted_peak: predicted peak of a training step
started: the iteration where this part of the run began
difference_dB: by how much the PSNR differs
agrees: whether that is within rounding
workspace_rule: the scratch is known by a rule
rounds: how often each bench was timed
calibrate/spread: share by which the benches' samples differ
mean_error: mean error of the fit
values: the figures that were fitted
values.*: value in the profile's unit
halve_every: iterations after which the learning rate is halved
init_gain: factor of the drawn weights
calibrate/roofs: benches of the peaks and bandwidths
calibrate/benches: benches that the fit is of
group: its kind
samples_s: seconds, each
seconds: median of them
held_out: predicted by a fit without its group
network: name of the network
merge/output: file that was written
numbers_before: parameters and buffers of the training form
numbers_after: of the merged one
difference_float64: largest difference of the results in float64
difference_float32: in float32
ablate/variants.run.checkpoint: file of the training form
merged.file: file of the merged network
memory.peak_node: the nodes of the peaks
latency.by_bound: ms by what bounds them
latency.by_module: ms by module
training: the step that is analyzed
peak_node_after: where the peak is then
mean.rgb: of R, G and B
mean.y: of luma
fingerprint: what tells this network and its calls
latency.flags: settings of torch meanwhile
measured.flags: settings of torch meanwhile
rows.by_cost: its quality is not known, so its place is by cost alone
rows.ranks: ranks by figure
rows.marks: marks by figure
rows.tracks: the challenge's tracks
rows.origins: where each value comes from
analyze/complexity: counts of the network
analyze/memory: peaks, and what they are made of
analyze/memory.allocator: what the allocator makes of it
analyze/memory.requested: the same exactly as the program asks
analyze/nodes.input: what it reads or changes in place
analyze/nodes.output: what it creates
analyze/nodes.kept: older, and still needed
analyze/nodes.held: older, and needed by nothing
analyze/inputs.name: name of the argument, "" for the first ones by position
measure/memory: bytes of the whole run
measure/latency: the samples, and what they say
evaluate/images: one entry for each image
sweep/rows: one entry for each configuration
sweep/metrics: the columns
measure/device: the hardware
evaluate/device: the hardware
time/device: the hardware
analyze --train/peak: the most of all nodes
diff/nodes: nodes that changed
diff/peaks: the four peaks
rank/rows.peaks: the four peaks
rank/rows.memory: the peak that --memory names
schema: version of this object
srprof: version of srprof
torch: version of torch
kind: what this object is
notes: what a reader of the figures must know, one line each
spec: the SPEC that was given
model.name: name of the network
model.scale: upscaling factor
scale: upscaling factor
name: its name
traced_on: `meta`, or `cpu` where the meta device could not run it
fallback: why the meta device could not run it
input: the first image: shape and dtype
inputs: the tensors of the call
shape: sides, outermost first
dtype: of the elements
input.range: largest value that the network takes
layout: `contiguous` or `channels_last`
granularity: every storage counts as a multiple of this many bytes
index: place among the calls, from 0
op: the ATen operation
module: path of the module that runs, "" for the network itself
line: line in that file
function: function of that line
variable: the variables that hold it
memory.releases.kind: how it is held: a variable, an attribute, a container
held_at_peak.kind: how it is held: a variable, an attribute, a container
live_at_peak.kind: how it is held: a variable, an attribute, a container
references.kind: how it is held: a variable, an attribute, a container
references: everything that holds it
bytes: size
storage: number of the storage; views share one
last_use: node that needs it last
peak_node.*: index of the node of that peak
peak.*: bytes of that peak
memory.peak: the peaks by name
held_at_peak: what only variables keep alive at the eager peak
live_at_peak: everything alive at the eager peak
releases: what letting go in time would save, in order
peak_feature_maps: the peaks in feature maps, without the network's own bytes
peak_feature_maps.of: sides of one feature map
requested.net: the same before the allocator rounds
latency: the predicted latency; null without --profile
latency.device: name of the profile
latency.title: name of the device
predicted_ms: predicted latency
uncertainty_ms: one standard deviation of it
uncertainty_from: what that was found on
held_out_error: mean error on networks that the profile's fit did not see
overhead_ms: what launching takes
overhead_share: the same as a share
by_bound.*: ms by what bounds them: compute, memory, launch
by_module.*: ms by module
by_class: ms by class of operations
class: class of operations
by_class.nodes: how many there are
by_class.ms: together
share: of the whole
by_class.bound: what bounds most of their time
bound_share: how much of it
places: how many places of the run the edit changes
metrics: one entry for each figure
workspace_by_op.calls: how many calls
avoidable.kind: which cost: channels, bias, layout, waiting
avoidable.nodes: how many pay it
avoidable.ms: what could be saved
of_ms: what they take now
width: channels that it has
published: published figures beside ours
inplace: it changes its input
nodes: one entry for each call
main_memory: tensors and work in main memory
training.loss: the loss
training.optimizer: the optimizer
training.foreach: whether it updates all parameters at once
training.step: which step is analyzed; the second has the optimizer's state
peak.parts: the same by what it is
node: index of the node
phase: forward, backward or update
net: parameters and buffers
state: the optimizer's
gradients: of the parameters
images: the batch's images
saved: activations that backward needs
temporary: everything else
saved.ops: operations that made them
saved.storages: how many
memory: which peak is meant
budget: bytes that the peak may take
within_budget: whether the edits reach it
lowest: the peak with all edits that were found
peak_after: the peak with this edit and all before it
advise/peak: the peak before any edit
peak: the peak of memory
peak_node_after.held: bytes held there
advice: the edits, in the order in which they are to be made
advice.kind: del, in-place, order or split
write: what to write, in words
rewrite: the same for programs
form: kind of rewrite; the other keys are its own
joined: the statement that only binds the concatenation
joins: the name that it binds
early: each part is convolved as soon as it is made
cat: place of the concatenation
convolution: place of the convolution
statement: place of its statement
inside: the convolution is the first layer of the called module
total: name of the sum
rewrite.weights: name of the weight's parts
rewrite.module: the called module, as written
named: the sum keeps the result's name
parts: of the concatenation
place: position in the source: line, column, end line, end column
parts.channels: how many it has
parts.after: the statement after which it is convolved
fresh: name for its value
let_go: names to delete
problem: why it is left to a person
other_line: a second line that the edit needs
exact: every bit of the results stays
saving: bytes that it saves, beside those before it
failed: whether a limit is not held
checks: the checks of the configuration
gone: checks of the baseline that are no more
updated: path of the baseline that was written
metric: name of the figure
unit: of its values
baseline: recorded value
now: today's value
allowed: the most that the baseline allows
limit: the most that the configuration allows
compared: whether the baseline can be compared with
before: before
after: after
relative: the difference as a share of the value before
difference: after less before
peaks: by name
moved: the peak is at another node
node_before: the node of the peak before
node_after: the node of the peak after
text: the same in words
tensors: tensors at the eager peak that changed
fate: came, went, grew, shrank or changed its part
nodes.before_bytes: eager bytes at the node's end, before
nodes.after_bytes: eager bytes at the node's end, after
same_nodes: nodes that are as they were
explanations: what changed, in sentences
diff/complexity: counts before and after
calibrate: how to make one here
note: what else is to be known
psnr_dB: PSNR in dB; null where the images are the same
ssim: SSIM
runtime_ms: of one image
same_rgb: images that are the same in R, G and B
same_y: images that are the same in luma
bicubic_rgb_dB: bicubic enlargement's PSNR
bicubic_y_dB: the same of luma
measured_on_cpu: peaks that the CPU's allocator reports, with --verify
model.weights: checkpoint
python: version of Python
cuda: version of CUDA
cudnn: version of cuDNN
onednn: version of oneDNN
versions: of what has a say
tf32_matmul: TF32 in matrix products
tf32_cudnn: TF32 in convolutions
cudnn_enabled: torch's setting
cudnn_benchmark: torch's setting
cudnn_deterministic: torch's setting
deterministic_algorithms: torch's setting
matmul_precision: torch's setting
environment.*: variable of the environment
cold: peaks of the first run
warm: peaks of a later run
max_allocated: bytes
max_reserved: bytes
allocated: bytes that the allocator has handed out
allocated.before: before the node
allocated.after: after it
allocated.peak: within it
requested.before: before the node
requested.after: after it
requested.peak: within it
temperature_c: in degrees Celsius
sm_clock_mhz: of the processors
sm_clock_max_mhz: the most that it may be
memory_clock_mhz: of the memory
power_w: in watts
throttled: why it was held down
protocol: how it was timed
count: how many
median_ms: median of the samples
iqr_ms: their interquartile range
predicted: what a profile predicts
measured: what was measured
time_ratio: time of the lean form against the network's, with --verify
max_relative_error: the largest difference of an output, against its largest value
tolerance: the most that it may be
level: `exact` or `equivalent`
passes: what was done, in order
passes.name: of the pass
passes.peak: after it
saves: bytes of the eager peak that it saves
emitted: file that was written
outputs.error: its difference
outputs: what was compared
error: why there is no result
scoring: what the rows are ordered by
rows: one entry for each model
rows.place: in the order; null if it is not ranked
tracks.*.place: in that track
tracks.*.score: in that track
score: what it is ordered by
ranked: whether it is ranked
reference: the published table that it belongs to
placements: places in the published field, in words
ranks.*: rank among all rows in this figure
marks.*: marks of the place in this figure
origins.*: where the value comes from
peaks.*: bytes by way of counting
image: the image
modules: one entry for each module that was named
modules.module: path of the module
modules.class: its class
spectrum/modules.call: which of its calls, from 1
radius: distance from zero frequency of each ring's middle line
density: share of the power in each ring
high: share of high frequencies in the power that is not constant
high_of_all: share of high frequencies in all the power
spectrum/modules.moved: share of the power in another ring than before; null where sizes differ
spectrum/modules.moved_of_rest: the same of the power that is not constant
constant: share of the zero frequency
arguments: names of the swept arguments
device: name of the profile, or the hardware
metrics.*: unit of the column
nf: value of a swept argument (here `nf`)
rows.input: the input
validations: one entry for each measurement
errors: what could not be measured, one line each
workspace_by_op: scratch by operation
workspace_by_op.op: the ATen operation
workspace_by_op.largest: the most that one call took
workspace_by_op.node: the node of that call
nodes_equal: nodes whose bytes are equal
validations.nodes: nodes that were compared
largest: the largest that fits
next: the next larger one, which does not fit
sides: the sides that the network takes
image.whole: the image in one piece
aspect: width and height of the proportions
params_M: published parameters in millions
params_K: published parameters in thousands
flops_G: published FLOPs in billions
mult_adds_G: published multiply-adds in billions
activations_M: published activations in millions
memory_MiB: published memory in MiB
memory_256_M: published memory at 256x256, in millions
time_ms: published time
published.*: published figures by scale
conventions: how those were counted
row: name in the published table
workspace: scratch that a library takes within the node; null where it is not known
requested: what the program asks for
flops: the challenge's FLOPs, per image
convs: convolution calls
saved.bytes: size
reason: why not
title: name in words
source.*: where the figure comes from
from_state_dict: how a checkpoint names its arguments
merge: how its training form is merged
factory: what makes it
model: the network
compute.*: that share
relative.*: that share
bandwidth_share.*: that share
tensor.*: that figure
host.*: that figure
spread.*: that deviation
uncounted: operations without a rule
checkpoint: the checkpoint that was read
merged: the merged checkpoint
profile: the profile that was written
iterations: how many were run
batch: patches in each
patch: LR side of a patch
loss: mean over the last iterations
file: source file of the line that asked for it
phases: by phase
""".splitlines()
)


@dataclasses.dataclass(frozen=True)
class Place:
    """A place of an object: how it is written, what a record says of it, and what stood there."""

    path: tuple[str, ...]
    kind: str
    meaning: str

    @property
    def shown(self) -> str:
        return ".".join(self.path).replace(".[]", "[]")


def load(name: str) -> type:
    """`analysis.record:AnalysisRecord`."""
    module, _, cls = name.partition(":")
    found: type = getattr(importlib.import_module(f"srprof.{module}"), cls)
    return found


def attributes(cls: type) -> dict[str, str]:
    """What a class's docstrings say of each of its fields and properties."""
    said = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        names = {field.name for field in dataclasses.fields(base)}
        for name, value in vars(base).items():
            if isinstance(value, property) and value.__doc__:
                said[name] = value.__doc__
        body = (inspect.getdoc(base) or "").partition("Attributes:")[2]
        pieces = re.split(r"(?:^|(?<=[.;\n]))\s*(\w+(?:,\s+\w+)*): ", body)
        for listed, meaning in zip(pieces[1::2], pieces[2::2], strict=True):
            said |= {name: meaning for name in re.split(r",\s+", listed) if name in names}
    return {name: _sentence(text) for name, text in said.items()}


def _sentence(text: str) -> str:
    text = " ".join(text.split()).rstrip(".;").replace("None", "null").replace("|", "\\|")
    return text.replace("True", "true").replace("False", "false")


def plain(annotation: Any) -> Any:
    """A type without its notes."""
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    return annotation


def kind_of(annotation: Any) -> str:
    """A type in words."""
    annotation = plain(annotation)
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, UnionType):
        kinds = [kind_of(arg) for arg in args if arg is not NoneType]
        return " or ".join([*dict.fromkeys(kinds), *(["null"] if NoneType in args else [])])
    if origin is Literal:
        return " or ".join(f"`{arg}`" for arg in args)
    if origin in (tuple, list) or getattr(origin, "__name__", "") == "Sequence":
        return "list"
    if origin in (dict, Mapping) or dataclasses.is_dataclass(annotation):
        return "object"
    return {int: "integer", float: "number", str: "text", bool: "boolean"}.get(annotation, "any")


def is_mapping(annotation: Any) -> bool:
    """Whether a field's value has keys that are data."""
    kinds = typing.get_args(plain(annotation)) or (plain(annotation),)
    origins = {typing.get_origin(kind) for kind in (plain(annotation), *map(plain, kinds))}
    return any(getattr(origin, "__name__", "") in ("Mapping", "dict") for origin in origins)


def record_within(annotation: Any) -> type | None:
    """The dataclass of a field's value, or of the entries of it."""
    annotation = plain(annotation)
    if dataclasses.is_dataclass(annotation):
        return typing.cast(type, annotation)
    found = (record_within(arg) for arg in typing.get_args(annotation) if arg is not NoneType)
    return next((cls for cls in found if cls is not None), None)


def fields_of(cls: type) -> dict[str, tuple[Any, str]]:
    """A record's fields by their keys, with their types and meanings; properties have no type."""
    said, hints = attributes(cls), typing.get_type_hints(cls, include_extras=True)
    found: dict[str, tuple[Any, str]] = {}
    for field in dataclasses.fields(cls):
        notes = typing.get_args(hints[field.name])
        key = next((n.name for n in notes if isinstance(n, Key) and n.name), field.name)
        found[key] = hints[field.name], said.get(field.name, "")
    return found | {name: (None, text) for name, text in said.items() if name not in hints}


def kind_here(value: Any) -> str:
    """The kind of a value of JSON."""
    kinds = {bool: "boolean", int: "integer", float: "number", str: "text", NoneType: "null"}
    return kinds.get(type(value), "object" if isinstance(value, dict) else "list")


class Walk:
    """Goes through the objects of a command and gives the rows of its table."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._records = {place: load(name) for place, name in RECORDS[command].items()}
        self.rows: dict[tuple[str, ...], tuple[dict[str, None], str]] = {}

    def take(self, value: Any) -> None:
        """An object that the command printed."""
        self._walk(value, (), self._records.get(""))

    def _walk(
        self, value: Any, path: tuple[str, ...], cls: type | None, annotation: Any = None
    ) -> None:
        cls = self._records.get(".".join(p for p in path if p != "[]")) or cls
        if isinstance(value, list):
            for item in value:
                self._walk(item, (*path, "[]"), cls)
        if not isinstance(value, dict):
            return
        fields = {} if cls is None else fields_of(cls)
        opened = bool(path) and path[-1] in OPEN and not set(value) & set(fields)
        opened |= is_mapping(annotation)
        opened |= bool(value) and (all(map(str.isdigit, value)) or set(value) <= set(peak_names()))
        for key, item in value.items():
            annotation, meaning = fields.get(key, (None, ""))
            place = (*path, "*" if opened else key)
            kinds, _ = self.rows.setdefault(place, ({}, meaning))
            kinds[self._kind(annotation, item)] = None
            within = None if annotation is None else record_within(annotation)
            self._walk(item, place, within, annotation)
        if cls is not None and not opened:
            self._by_type(cls, path, set(value))

    def _kind(self, annotation: Any, value: Any) -> str:
        here, said = kind_here(value), "" if annotation is None else kind_of(annotation)
        fits = here in said.split(" or ") or (here == "text" and "`" in said)
        return said if fits else here

    def _by_type(self, cls: type, path: tuple[str, ...], there: set[str]) -> None:
        """What an empty list, or `null`, would have."""
        for key, (annotation, _) in fields_of(cls).items():
            within = None if annotation is None else record_within(annotation)
            if within is None or key not in there or within is cls:
                continue
            listed = kind_of(annotation).startswith("list")
            place = (*path, key, *(["[]"] if listed else []))
            if not any(other[: len(place)] == place and other != place for other in self.rows):
                for name, (kind, text) in fields_of(within).items():
                    if kind is not None:
                        self.rows.setdefault((*place, name), ({kind_of(kind): None}, text))

    def places(self) -> Iterator[Place]:
        """Every place with its kinds and its meaning."""
        for path, (kinds, meaning) in self.rows.items():
            kind = " or ".join(dict.fromkeys(" or ".join(kinds).split(" or ")))
            kind = kind.removeprefix("null or ") + (
                " or null" if kind.startswith("null or ") else ""
            )
            yield Place(path, kind, words_of(self._command, path) or meaning or common(path))


def words_of(command: str, path: tuple[str, ...]) -> str:
    """The words of a place that more than its key tells: its command, or the longest end of it."""
    names = [name for name in path if name != "[]"]
    ends = [".".join(names[start:]) for start in range(len(names) - 1)]
    return next((WORDS[end] for end in (f"{command}/{'.'.join(names)}", *ends) if end in WORDS), "")


def common(path: tuple[str, ...]) -> str:
    """The words of a key wherever it stands."""
    figures = {figure.key: figure.meaning for figure in FIGURES}
    return WORDS.get(path[-1]) or figures.get(path[-1], "")


def table(command: str, objects: Sequence[Any]) -> tuple[str, list[str]]:
    """The table of a command's fields, and the places that have no words."""
    walk = Walk(command)
    for each in objects:
        walk.take(each)
    lines, missing = ["| field | type | meaning |", "|---|---|---|"], []
    for place in walk.places():
        if not place.meaning and place.path[-1] != "*":
            missing.append(place.shown)
        lines.append(f"| `{place.shown}` | {place.kind} | {place.meaning} |")
    return "\n".join(lines), missing


def words_used(page: str) -> set[str]:
    """The words that some row of the page has."""
    used, command = set(), ""
    for line in page.splitlines():
        command = line[3:] if line.startswith("## ") else command
        match = re.match(r"\| `(.*?)` \|", line)
        if match is None:
            continue
        names = match[1].replace("[]", "").lstrip(".").split(".")
        ends = [".".join(names[start:]) for start in range(len(names))]
        used |= {f"{command}/{ends[0]}", *ends}
    return used & set(WORDS)
