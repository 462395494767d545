"""The Python API: load a model, explain a prompt. The command line uses nothing else."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from atman_bench.api._remarks import say_remarks
from atman_bench.core.errors import ConfigError, UnknownNameError
from atman_bench.core.options import build
from atman_bench.core.records import Explained, Picture, UnitKind
from atman_bench.core.tensors import Explanation
from atman_bench.methods import METHODS
from atman_bench.methods._explain import explain_encoded
from atman_bench.methods.adaptive import AdaptiveConfig
from atman_bench.methods.atman import AtManConfig
from atman_bench.models._base import LoadOptions, ModelAdapter
from atman_bench.models._load import load
from atman_bench.models._reading import against, grouped

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
    units: Sequence[Sequence[int]] | str | None = None,
    foil: str | int | None = None,
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
        units: What is explained as one: ``token`` (also None), ``word``, ``sentence``, ``chunk`` (A.8), ``example``
            (text between blank lines), or groups of prompt positions. Methods that take units away take all tokens of
            one away at once; of the others a unit has the sum over its tokens.
        foil: Explain why the target rather than this, each one token: text with its leading space, or with
            ``prompt_ids`` a token id. Scores are of the difference of losses or logits; methods that have none are
            refused.
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
        SampleError: The prompt, target or foil cannot be encoded, nothing is explained, or target or foil is not one
            token where there is a foil.
        NotApplicableError: The method is not defined for the model, or explains no foil.
        ModelError: A log-probability or a score is not a finite number.
    """
    chosen = method or ("adaptive" if options.keys() & _ADAPTIVE_OPTIONS else "atman")
    config = build(METHODS.get(chosen).config, options, f"methods.{chosen}")
    if explained not in list(Explained):
        raise UnknownNameError("value of explained", explained, [e.value for e in Explained])
    part, kind, groups = Explained(explained), UnitKind.TOKEN, None
    if isinstance(units, str):
        if units not in list(UnitKind):
            raise UnknownNameError("value of units", units, [e.value for e in UnitKind])
        kind = UnitKind(units)
    else:
        groups = units
    if prompt is not None and target is not None and prompt_ids is None and target_ids is None:
        picture = None if image is None else Picture(Path(image))
        if picture is None and part is not Explained.TEXT:
            raise ConfigError(f"explained={part} needs an image: give image")
        if isinstance(foil, int):
            raise ConfigError("foil is a token id: give text where prompt and target are texts")
        encoded = model.encode_text(prompt, target, groups, picture, part)
        if foil is not None:
            other = model.encode_text(prompt, foil, groups, picture, part)
            encoded = against(encoded, other, "".join(model.token_texts(other.target_ids.tolist())), foil)
    elif prompt_ids is not None and target_ids is not None and prompt is None and target is None and image is None:
        if isinstance(foil, str):
            raise ConfigError("foil is text: give a token id where prompt and target are token ids")
        encoded = model.encode_ids(prompt_ids, target_ids, groups)
        if foil is not None:
            encoded = against(encoded, model.encode_ids(prompt_ids, [foil], groups), "", "")
    else:
        raise ConfigError("explain needs either prompt and target (text) or prompt_ids and target_ids (token ids)")
    encoded = grouped(encoded, kind)
    say_remarks(encoded)
    if method is None and len(encoded.units) > MOST_EXACT_UNITS:
        chosen, config = "adaptive", build(AdaptiveConfig, options, "methods.adaptive")
    return explain_encoded(model, encoded, chosen, config, seed)
