"""The Python API: load a model, explain a prompt. The command line uses nothing else."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from atman_bench.api._remarks import say_remarks
from atman_bench.core.errors import ConfigError, UnknownNameError
from atman_bench.core.options import build
from atman_bench.core.records import Explained, Picture
from atman_bench.core.tensors import Explanation
from atman_bench.methods import METHODS
from atman_bench.methods._explain import explain_encoded
from atman_bench.methods.adaptive import AdaptiveConfig
from atman_bench.methods.atman import AtManConfig
from atman_bench.models._base import LoadOptions, ModelAdapter
from atman_bench.models._load import load

MOST_EXACT_UNITS = 400
"""``explain`` suppresses as many units one by one; of more the exact map takes a minute and longer on a CPU."""

_ADAPTIVE_OPTIONS = {f.name for f in fields(AdaptiveConfig)} - {f.name for f in fields(AtManConfig)}


def load_model(
    name: str,
    *,
    device: str | None = None,
    dtype: str = "float32",
    device_map: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    trust_checkpoint: bool = False,
) -> ModelAdapter:
    """Load a model by its name: ``tiny-text``, or ``hf:ID_OR_FOLDER``.

    Args:
        name: ``FAMILY`` or ``FAMILY:ARGUMENT``; ``atman-bench list models`` shows the families.
        device: A torch device; None takes CUDA where there is one.
        dtype: ``float32`` (reference), ``float16`` or ``bfloat16``.
        device_map: Dispatch over several devices (``auto``), as transformers does.
        revision: Hub revision.
        trust_remote_code: Run code that comes with the checkpoint.
        trust_checkpoint: Read pickled weights.

    Raises:
        UnknownNameError: No such family or type.
        ConfigError: No such device.
        ModelError: It cannot be loaded, or edits cannot be installed in it.
    """
    options = {
        "device": device,
        "dtype": dtype,
        "device_map": device_map,
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "trust_checkpoint": trust_checkpoint,
    }
    return load(name, build(LoadOptions, options))


def explain(
    model: ModelAdapter,
    *,
    prompt: str | None = None,
    target: str | None = None,
    prompt_ids: Sequence[int] | None = None,
    target_ids: Sequence[int] | None = None,
    units: Sequence[Sequence[int]] | None = None,
    image: str | Path | None = None,
    explained: str = "text",
    method: str | None = None,
    seed: int = 0,
    **options: Any,  # the method's own, checked against its config: see ``atman-bench list methods``
) -> Explanation:
    """Explain why a model gives a target after a prompt.

    Args:
        model: From ``load_model``.
        prompt: Text, with ``target``; or
        prompt_ids: token ids, with ``target_ids``: no tokenizer is needed then.
        target: The continuation, with its leading space (``" Paris"``).
        target_ids: Its token ids.
        units: Groups of prompt positions that are explained together; None explains every prompt token on its own.
        image: An image file that comes before the prompt.
        explained: ``text`` (the prompt's tokens), ``image`` (the image's patches) or ``both`` (Fig. 17a).
        method: Name of a method; None takes exact AtMan for up to ``MOST_EXACT_UNITS`` units, and ``adaptive`` for more
            or where its options are given (``budget``, ``seconds``, ``fidelity``).
        seed: For stochastic methods.
        options: The method's options, for AtMan ``f=0.9, kappa=None, form="shifted", row_min="visible", layers=None,
            engine="fast"`` and more.

    Returns:
        ``scores (U,)`` and ``per_target (T, U)``, higher = more important; for AtMan the suppressed loss minus the
        plain loss (paper Eq. 5). ``remarks`` say what part of a map is estimated.

    Raises:
        UnknownNameError: No such method or option.
        ConfigError: An option has an impossible value, or text and ids are mixed.
        SampleError: The prompt or target cannot be encoded, or nothing is explained.
        ModelError: A log-probability or a score is not a finite number.
    """
    chosen = method or ("adaptive" if options.keys() & _ADAPTIVE_OPTIONS else "atman")
    config = build(METHODS.get(chosen).config, options, f"methods.{chosen}")
    if explained not in list(Explained):
        raise UnknownNameError("value of explained", explained, [e.value for e in Explained])
    part = Explained(explained)
    if prompt is not None and target is not None and prompt_ids is None and target_ids is None:
        picture = None if image is None else Picture(Path(image))
        if picture is None and part is not Explained.TEXT:
            raise ConfigError(f"explained={part} needs an image: give image")
        encoded = model.encode_text(prompt, target, units, picture, part)
    elif prompt_ids is not None and target_ids is not None and prompt is None and target is None and image is None:
        encoded = model.encode_ids(prompt_ids, target_ids, units)
    else:
        raise ConfigError("explain needs either prompt and target (text) or prompt_ids and target_ids (token ids)")
    say_remarks(encoded)
    if method is None and len(encoded.units) > MOST_EXACT_UNITS:
        chosen, config = "adaptive", build(AdaptiveConfig, options, "methods.adaptive")
    return explain_encoded(model, encoded, chosen, config, seed)
