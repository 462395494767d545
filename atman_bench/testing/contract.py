"""What a method and a metric promise, as classes that pytest runs for whatever ``spec`` a subclass names."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from atman_bench.core.options import options_of
from atman_bench.core.records import Explained, Modality
from atman_bench.core.tensors import Attribution, Encoded
from atman_bench.methods._base import MethodSpec
from atman_bench.metrics._base import MetricSpec
from atman_bench.models._base import ModelAdapter
from atman_bench.testing import pictures
from atman_bench.testing.models import PROMPT_IDS, TARGET_IDS, adapter, state_of

CHUNKS = ([0, 1, 2], [3], [5, 4], list(range(6, 15)), [20])
"""Groups of prompt positions; some positions are not explained."""


class MethodContract:
    """Tests of one explanation method: subclass it and name ``spec``.

    Attributes:
        spec: The method.
        options: Options for the tests, where the defaults take too long.
        families: Toy models that it is tried on; of ``atman_bench.testing.models.HOSTED``.
    """

    spec: ClassVar[MethodSpec]
    options: ClassVar[dict[str, Any]] = {}
    families: ClassVar[tuple[str, ...]] = ("llama", "gptj")

    def explain(self, model: ModelAdapter, encoded: Encoded, seed: int = 0) -> Attribution:
        """Run the method."""
        return self.spec.explain(model, encoded, self.spec.config(**self.options), seed)

    def cases(self, folder: Path) -> list[tuple[ModelAdapter, Encoded]]:
        """What it is tried on: token ids one by one and in groups, and an image's patches, as far as it applies."""
        found: list[tuple[ModelAdapter, Encoded]] = []
        if Modality.TEXT in self.spec.modalities:
            for family in self.families:
                model = adapter(family)
                found.append((model, model.encode_ids(PROMPT_IDS, TARGET_IDS)))
                found.append((model, model.encode_ids(PROMPT_IDS, TARGET_IDS, CHUNKS)))
        if Modality.IMAGE in self.spec.modalities:
            reader, noise = pictures.adapter(), pictures.save_noise(folder / "noise.png")
            found.append((reader, reader.encode_text("This is a", " cat", None, noise, Explained.IMAGE)))
        return found

    def test_its_options_are_a_documented_frozen_dataclass_with_defaults(self) -> None:
        """The command line builds them from text, and ``list methods`` shows what they mean."""
        config = self.spec.config
        assert is_dataclass(config)
        assert config.__dataclass_params__.frozen, f"{config.__name__} should be @dataclass(frozen=True)"  # type: ignore[attr-defined]
        config()
        undocumented = [option.name for option in options_of(config) if not option.doc]
        assert not undocumented, f"name them under Attributes: in the docstring of {config.__name__}: {undocumented}"
        assert len(fields(config)) == len({f.name for f in fields(config)})

    def test_it_says_what_it_is_and_costs(self) -> None:
        """``list methods``, fingerprints and ``--dry-run`` need it."""
        assert self.spec.summary
        assert self.spec.version >= 1
        assert self.spec.forwards(10, 3, self.spec.config()) >= 0
        assert self.spec.label(self.spec.config())

    def test_scores_are_finite_float32_on_the_cpu_one_for_each_unit(self, tmp_path: Path) -> None:
        """Higher is more important; ``scores`` is the mean over target tokens where ``per_target`` is given."""
        for model, encoded in self.cases(tmp_path):
            found = self.explain(model, encoded)
            count = len(found.units or encoded.units)
            assert found.scores.shape == (count,)
            for tensor in (found.scores, found.per_target):
                if tensor is not None:
                    assert (tensor.dtype, tensor.device.type, tensor.requires_grad) == (torch.float32, "cpu", False)
                    assert tensor.isfinite().all()
            if found.per_target is not None:
                assert found.per_target.shape == (len(encoded.target_ids), count)
                torch.testing.assert_close(found.scores, found.per_target.mean(0))

    def test_the_same_seed_gives_the_same_scores(self, tmp_path: Path) -> None:
        """And where the method is stochastic another seed gives others."""
        for model, encoded in self.cases(tmp_path):
            first, again = (self.explain(model, encoded, seed=3).scores for _ in range(2))
            torch.testing.assert_close(first, again, rtol=0, atol=1e-6)
            other = self.explain(model, encoded, seed=4).scores
            if self.spec.stochastic:
                assert (first - other).abs().max() > 1e-6, "a stochastic method should draw by the seed"
            else:
                torch.testing.assert_close(first, other, rtol=0, atol=1e-6)

    def test_it_leaves_the_model_and_the_random_state_as_they_were(self, tmp_path: Path) -> None:
        """Weights, gradients, hooks, attributes and attention functions; other methods run on the same model."""
        for model, encoded in self.cases(tmp_path):
            before, random_state = state_of(model.model), torch.get_rng_state()
            self.explain(model, encoded)
            assert state_of(model.model) == before
            assert torch.equal(torch.get_rng_state(), random_state)


class MetricContract:
    """Tests of one metric: subclass it and name ``spec``.

    Attributes:
        spec: The metric.
    """

    spec: ClassVar[MetricSpec]

    @pytest.mark.parametrize("units", [1, 2, 7, 100])
    def test_it_is_a_number_or_undefined(self, units: int) -> None:
        """Never NaN, whatever the map and the label; its arguments stay as they are."""
        generator = np.random.default_rng(units)
        for x in (np.zeros(units), np.ones(units), generator.random(units)):
            for y in (np.ones(units), (generator.random(units) < 0.5).astype(float), generator.random(units)):
                kept = x.copy(), y.copy()
                value = self.spec.function(x, y)
                assert value is None or np.isfinite(value)
                assert np.array_equal(x, kept[0]) and np.array_equal(y, kept[1])

    def test_it_says_what_it_is(self) -> None:
        """``list metrics`` and tables need it."""
        assert self.spec.summary
        assert self.spec.column
