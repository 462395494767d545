"""The Python API: load a model, explain a prompt. The command line uses nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeAlias

from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from atman_bench.api._prompts import check_one_prompt, part_and_ranges, stops, templated, units_within
from atman_bench.api._remarks import say_remarks
from atman_bench.api.explanation import Explanation
from atman_bench.core.errors import ConfigError, UnknownNameError
from atman_bench.core.options import build
from atman_bench.core.records import Picture, UnitKind
from atman_bench.core.tensors import Encoded
from atman_bench.methods import METHODS
from atman_bench.methods._explain import explain_encoded
from atman_bench.methods.adaptive import AdaptiveConfig
from atman_bench.methods.atman import AtManConfig
from atman_bench.models._base import LoadOptions, ModelAdapter
from atman_bench.models._load import adopt, load
from atman_bench.models._reading import against, grouped

MOST_EXACT_UNITS = 400
"""``explain`` suppresses as many units one by one; of more the exact map takes a minute and longer on a CPU."""

_ADAPTIVE_OPTIONS = {f.name for f in fields(AdaptiveConfig)} - {f.name for f in fields(AtManConfig)}

Model: TypeAlias = ModelAdapter | PreTrainedModel | str
"""What is explained: from ``load_model``, a loaded model of transformers, or a name."""


def load_model(
    model: PreTrainedModel | str,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    processor: ProcessorMixin | None = None,
    device: str | None = None,
    dtype: str = "float32",
    quantize: str | None = None,
    device_map: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    trust_checkpoint: bool = False,
) -> ModelAdapter:
    """Load a model by its name, or take one that is loaded already.

    Args:
        model: ``tiny-text``, a hub id or a folder, or ``FAMILY:ARGUMENT`` (``atman-bench list models`` shows the
            families); or a decoder or vision-language model of transformers, which stays where and as it is.
        tokenizer: Of a loaded model; without one token ids are explained.
        processor: Of a loaded vision-language model.
        device: A torch device; None takes CUDA where there is one.
        dtype: ``float32`` (reference), ``float16`` or ``bfloat16``.
        quantize: ``int8`` turns the weights of a decoder's linear layers into integers (``atman-bench[int8]``).
        device_map: Dispatch over several devices (``auto``), as transformers does.
        revision: Hub revision.
        trust_remote_code: Run code that comes with the checkpoint.
        trust_checkpoint: Read pickled weights.

    Raises:
        UnknownNameError: No such family or type.
        ConfigError: No such device, or options of loading are given for a loaded model.
        ModelError: It cannot be loaded, or edits cannot be installed in it.

    Example:
        >>> import atman_bench
        >>> atman_bench.load_model("tiny-text", device="cpu").name
        'tiny-text'
    """
    options = {
        "device": device,
        "dtype": dtype,
        "quantize": quantize,
        "device_map": device_map,
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "trust_checkpoint": trust_checkpoint,
    }
    chosen = build(LoadOptions, options)
    if isinstance(model, str):
        if tokenizer is not None or processor is not None:
            raise ConfigError(f"tokenizer and processor belong to a loaded model; {model!r} is loaded with its own")
        return load(model, chosen)
    if not isinstance(model, PreTrainedModel):
        raise ConfigError(f"expected the name of a model, or a PreTrainedModel, received {type(model).__name__}")
    if chosen != LoadOptions():
        raise ConfigError("a loaded model keeps its device and type: leave device, dtype and the like out")
    return adopt(model, tokenizer, processor)


def explain(
    model: Model,
    *,
    prompt: str | None = None,
    messages: Sequence[Mapping[str, str]] | None = None,
    target: str | None = None,
    prompt_ids: Sequence[int] | None = None,
    target_ids: Sequence[int] | None = None,
    units: Sequence[Sequence[int]] | str | None = None,
    foil: str | int | Sequence[int] | None = None,
    image: str | Path | None = None,
    explained: str = "text",
    method: str | None = None,
    seed: int = 0,
    max_new_tokens: int = 16,
    stop: Sequence[str] | str | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    processor: ProcessorMixin | None = None,
    **options: Any,  # the method's own, checked against its config: see ``atman-bench list methods``
) -> Explanation:
    """Explain why a model gives a target after a prompt.

    Args:
        model: From ``load_model``, or what that takes; loaded anew at every call then.
        prompt: Text; or
        messages: ``[{"role": "user", "content": "..."}]``, put into the model's own chat template, whose words are not
            explained; or
        prompt_ids: token ids, with ``target_ids``: no tokenizer is needed then.
        target: The continuation, with its leading space (``" Paris"``); None explains what the model answers itself.
        target_ids: Its token ids.
        units: What is explained as one: ``token`` (also None), ``word``, ``sentence``, ``chunk`` (A.8), ``example``
            (text between blank lines), or groups of prompt positions. Methods that take units away take all tokens of
            one away at once; of the others a unit has the sum over its tokens.
        foil: Explain why the target rather than this: text with its leading space, or with ``prompt_ids`` token ids.
            Scores are of the difference of losses or logits; methods that have none are refused. Where target and foil
            are not one token each, both run, and it is the difference of their log-probabilities, each summed over its
            tokens: methods that read two tokens in one pass are refused then.
        image: An image file that comes before the prompt.
        explained: ``text`` (the prompt's tokens), ``image`` (the image's patches), ``both`` (Fig. 17a), ``context``
            (what stands before the prompt's question), or ``START:END``, a range of the prompt's characters.
        method: Name of a method; None takes exact AtMan for up to ``MOST_EXACT_UNITS`` units, and ``adaptive`` for more
            or where its options are given (``budget``, ``seconds``, ``fidelity``); a foil of several tokens takes the
            exact one.
        seed: For stochastic methods.
        max_new_tokens: Longest answer where no target is given; with a foil it has as many tokens as that at the most.
        stop: Texts that end an answer; by default a line break, and in a chat the end-of-text token alone.
        tokenizer: Of a loaded model.
        processor: Of a loaded vision-language model.
        options: The method's options, for AtMan ``f=0.9, kappa=None, form="shifted", row_min="visible", layers=None,
            engine="fast"`` and more.

    Returns:
        ``scores (U,)`` and ``per_target (T, U)``, higher = more important; for AtMan the suppressed loss minus the
        plain loss (paper Eq. 5). ``remarks`` say what part of a map is estimated.

    Raises:
        UnknownNameError: No such method or option.
        ConfigError: An option has an impossible value, or text and ids are mixed.
        SampleError: The prompt, target or foil cannot be encoded, nothing is explained, one of target and foil begins
            with the other, or the method explains a foil of one token only.
        NotApplicableError: The method is not defined for the model, or explains no foil.
        ModelError: A log-probability or a score is not a finite number.

    Example:
        >>> import atman_bench
        >>> model = atman_bench.load_model("tiny-text", device="cpu")
        >>> prompt = "Everdeen Bridge was designed by Karin Fairbanks. Q: Who designed Everdeen Bridge? A:"
        >>> found = atman_bench.explain(model, prompt=prompt, f=0.9)
        >>> found.target, found.answered
        (' Karin Fairbanks', True)
    """
    chosen = method or ("adaptive" if options.keys() & _ADAPTIVE_OPTIONS else "atman")
    config = build(METHODS.get(chosen).config, options, f"methods.{chosen}")
    given = {
        "prompt": prompt,
        "messages": messages,
        "prompt_ids": prompt_ids,
        "target": target,
        "target_ids": target_ids,
        "image": image,
    }
    check_one_prompt(**given)
    adapter = adapter_of(model, tokenizer, processor)
    text = prompt if messages is None else templated(adapter, messages)
    kind, groups = _units(units)
    if text is not None:
        if foil is not None and not isinstance(foil, str):
            raise ConfigError("foil is given as token ids: give text where prompt and target are texts")
        encoded = _encoded_text(adapter, text, target, groups, image, explained, max_new_tokens, stop, foil)
    else:
        if isinstance(foil, str):
            raise ConfigError("foil is text: give its token ids where prompt and target are token ids")
        encoded = adapter.encode_ids(prompt_ids or (), target_ids or (), groups)
        if foil is not None:
            foil_ids = [foil] if isinstance(foil, int) else foil
            encoded = against(encoded, adapter.encode_ids(prompt_ids or (), foil_ids, groups), "", "")
    encoded = grouped(encoded, kind)
    say_remarks(encoded)
    if method is None and len(encoded.units) > MOST_EXACT_UNITS and encoded.foil is None:
        chosen, config = "adaptive", build(AdaptiveConfig, options, "methods.adaptive")
    return Explanation.of(
        explain_encoded(adapter, encoded, chosen, config, seed),
        model=adapter.name,
        dtype=adapter.dtype_name,
        prompt=None if text is None else str(text),
        image=None if image is None else Path(image),
        options=options,
        seed=seed,
    )


def adapter_of(
    model: Model, tokenizer: PreTrainedTokenizerBase | None, processor: ProcessorMixin | None
) -> ModelAdapter:
    """The model as methods see it.

    Raises:
        ConfigError: A tokenizer or processor is given for a model that has its own.
        ModelError: See ``load_model``.
    """
    if isinstance(model, str | PreTrainedModel):
        return load_model(model, tokenizer=tokenizer, processor=processor)
    if tokenizer is not None or processor is not None:
        raise ConfigError("tokenizer and processor belong to load_model, which gave this model")
    return model


def _units(units: Sequence[Sequence[int]] | str | None) -> tuple[UnitKind, Sequence[Sequence[int]] | None]:
    """What is one unit: a kind of them, or groups of positions.

    Raises:
        UnknownNameError: There is no such kind.
    """
    if not isinstance(units, str):
        return UnitKind.TOKEN, units
    if units not in list(UnitKind):
        raise UnknownNameError("value of units", units, [kind.value for kind in UnitKind])
    return UnitKind(units), None


def _encoded_text(
    model: ModelAdapter,
    prompt: str,
    target: str | None,
    units: Sequence[Sequence[int]] | None,
    image: str | Path | None,
    explained: str,
    max_new_tokens: int,
    stop: Sequence[str] | str | None,
    foil: str | None,
) -> Encoded:
    """Encode a prompt and its target, the model's own answer where none is given, perhaps against a foil."""
    if max_new_tokens < 1:
        raise ConfigError(f"max_new_tokens must be at least 1, received {max_new_tokens}")
    part, ranges = part_and_ranges(explained, prompt, image is not None)
    picture = None if image is None else Picture(Path(image))
    if target is None:
        if foil is not None:
            longest = len(model.encode_text(prompt, foil, None, picture, part).target_ids)
            max_new_tokens = min(max_new_tokens, longest)
        target = model.complete(prompt, max_new_tokens, picture, stops(prompt, stop))
    elif stop is not None:
        raise ConfigError("stop ends the model's own answer: leave it out where a target is given")
    if units is None and ranges is not None:
        units = units_within(model.encode_text(prompt, target, None, picture, part), prompt, ranges)
    encoded = model.encode_text(prompt, target, units, picture, part)
    if foil is None:
        return encoded
    other = model.encode_text(prompt, foil, units, picture, part)
    return against(encoded, other, "".join(model.token_texts(other.target_ids.tolist())), foil)
