"""A model and methods that take no time, for tests of what surrounds them."""

import re
import sys
import time
from dataclasses import dataclass, field
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

import torch

from atman_bench.core.errors import ConfigError, ModelError, SampleError
from atman_bench.core.records import Cost, Sample, TextUnits
from atman_bench.core.tensors import Encoded, Explanation
from atman_bench.evaluation import explaining, remote, runner
from atman_bench.methods import METHODS
from atman_bench.methods._base import MethodSpec


class Form(StrEnum):
    """Like an attention edit's."""

    SHIFTED = "shifted"
    LITERAL = "literal"


@dataclass(frozen=True)
class FakeConfig:
    """Options with every kind of annotation.

    Attributes:
        f: Suppression factor,
            continued on a second line.
        kappa: Similarity threshold.
        form: Form of the edit.
        layers: Which layers.
        n_steps: A whole number.
        batch: Does not change the map.
    """

    f: float = 0.9
    kappa: float | None = None
    form: Form = Form.SHIFTED
    layers: tuple[int, ...] | None = None
    n_steps: int = 10
    batch: int = field(default=8, metadata={"identity": False})

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            raise ConfigError(f"n_steps must be at least 1, received {self.n_steps}")


SPEC = MethodSpec(
    summary="a fake",
    version=1,
    config=FakeConfig,
    explain=None,
    forwards=lambda units, targets, options: units + 1,
    variants={"literal": {"form": Form.LITERAL}},
)
NAMES = ("fake", "noise")
SPECS = {"fake": SPEC, "noise": MethodSpec("noise", 1, FakeConfig, None, SPEC.forwards, stochastic=True)}


class FakeAdapter:
    """Words are tokens."""

    name = "fake-model"
    content_hash = "0"
    dtype_name = "float32"
    device = torch.device("cpu")
    max_positions = 1000

    def encode(self, sample: Sample) -> Encoded:
        first, last = sample.explain
        words = [m.span() for m in re.finditer(r"\S+", sample.prompt)]
        spans = tuple(span for span in words if span[0] >= first and span[1] <= last)
        unit_of_position = torch.tensor([spans.index(span) if span in spans else -1 for span in words])
        targets = len(sample.target.split())
        if len(words) > self.max_positions:
            raise SampleError(f"sample {sample.uid}: {len(words)} tokens exceed the context window")
        units = TextUnits(tuple(sample.prompt[a:b] for a, b in spans), spans)
        ids = torch.zeros(targets, dtype=torch.long)
        return Encoded(sample.uid, {}, ids, ids, unit_of_position, units)

    def probe(self) -> None:
        """Pass."""

    def plain(self, encoded: Encoded) -> None:
        """Take no time."""

    weight_bytes = 1000


@dataclass
class Fakes:
    """What the fakes do and did.

    Attributes:
        fail: uid -> the error that explaining it raises.
        explained: (method, uid) of each call.
        delay: Seconds that each explanation takes.
        loads: How many models were loaded.
    """

    fail: dict[str, BaseException] = field(default_factory=dict)
    explained: list[tuple[str, str]] = field(default_factory=list)
    delay: float = 0.0
    loads: int = 0

    def load_model(self, name: str, **options: Any) -> FakeAdapter:
        if name != "tiny-text":
            raise ModelError(f"no model {name!r}: expected 'tiny-text'")
        self.loads += 1
        return FakeAdapter()

    def explain_encoded(
        self, adapter: FakeAdapter, encoded: Encoded, method: str, options: FakeConfig, seed: int, plain: object = None
    ) -> Explanation:
        time.sleep(self.delay)
        self.explained.append((method, encoded.uid))
        if encoded.uid in self.fail:
            raise self.fail[encoded.uid]
        generator = torch.Generator().manual_seed(seed)
        per_target = torch.randn(len(encoded.target_ids), len(encoded.units), generator=generator)
        cost = Cost(seconds=0.5, forward_tokens=encoded.length)
        logprobs = (-0.1,) * len(encoded.target_ids)
        return Explanation(
            encoded.uid, method, "default", per_target.mean(0), per_target, encoded.units, (), logprobs, True, cost
        )

    def install(self, set_item: Any, set_attribute: Any) -> None:
        """Put the fakes in place through monkeypatch's ``setitem`` and ``setattr``, or functions like them."""
        set_item(METHODS.__dict__, "_own", frozenset(NAMES))
        set_attribute(METHODS, "_parts", ())
        for name in NAMES:
            set_item(sys.modules, f"atman_bench.methods.{name}", SimpleNamespace(SPEC=SPECS[name]))
        set_attribute(runner, "load_configured", lambda run: self.load_model(run.model_name))
        set_attribute(remote, "load", lambda name, options: self.load_model(name))
        set_attribute(explaining, "explain_encoded", self.explain_encoded)
