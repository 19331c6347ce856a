"""Loading an encoder: by name, hub id, ``open_clip:`` specification or folder, or from a model in memory."""

import socket
from collections.abc import Generator
from contextlib import contextmanager
from difflib import get_close_matches
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from safetensors import SafetensorError

from benchmark import plugins
from benchmark.encoders.base import DualEncoder, Pair, Tokens
from benchmark.encoders.custom import CustomEncoder
from benchmark.encoders.geometry import Geometry
from benchmark.encoders.tower import AttentionPool, Block, Site, State, Tower
from benchmark.errors import BenchmarkError, InvalidInput, UnknownName

__all__ = [
    "AttentionPool",
    "Block",
    "CustomEncoder",
    "DualEncoder",
    "Geometry",
    "Pair",
    "Site",
    "State",
    "Tokens",
    "Tower",
    "load_encoder",
    "wrap_encoder",
]

KNOWN = {
    "embedded": "the encoder that ships with the suite, trained on scenes and phantoms",
    "openai/clip-vit-base-patch32": "CLIP ViT-B/32 (Hugging Face)",
    "openai/clip-vit-base-patch16": "CLIP ViT-B/16 (Hugging Face)",
    "openai/clip-vit-large-patch14": "CLIP ViT-L/14 (Hugging Face)",
    "google/siglip-base-patch16-224": "SigLIP ViT-B/16 (Hugging Face)",
    "google/siglip2-base-patch16-224": "SigLIP 2 ViT-B/16 (Hugging Face)",
    "google/siglip2-base-patch32-256": "SigLIP 2 ViT-B/32 (Hugging Face)",
    "open_clip:ViT-B-32/laion2b_s34b_b79k": "OpenCLIP ViT-B/32 (LAION-2B)",
    "open_clip:ViT-B-16/laion2b_s34b_b88k": "OpenCLIP ViT-B/16 (LAION-2B)",
    "flaviagiammarino/pubmed-clip-vit-base-patch32": "PubMedCLIP ViT-B/32 (Hugging Face)",
    "open_clip:hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224": "BiomedCLIP (open_clip, timm and BERT)",
}

SETTINGS = {
    "config.json",
    "merges.txt",
    "open_clip_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
}


def choose_device(device: str) -> torch.device:
    """Return the named device; ``auto`` is the GPU if there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InvalidInput(f"{device!r} is no device; use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda":
        n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (chosen.index or 0) >= n_devices:
            raise InvalidInput(
                f"device {device!r} is not here: this machine has {n_devices} usable CUDA devices; use auto or cpu"
            )
    elif chosen.type not in ("cpu", "mps"):
        raise InvalidInput(f"device {device!r} cannot be used; use auto, cpu, cuda or cuda:N")
    return chosen


def load_encoder(name: str = "embedded", device: str = "auto", revision: str | None = None) -> DualEncoder:
    """Load an encoder and check it against its library's own forward pass.

    ``name`` is ``"embedded"``, a Hugging Face hub id, ``"open_clip:<architecture>/<pretrained tag>"``, a folder in
    either library's format, or ``"<plug-in>:<rest>"`` for an encoder that an installed package registers. Weights are
    read in float32.
    """
    plugins.load()
    chosen = choose_device(device)
    if name == "embedded":
        return _load_huggingface(str(files("benchmark") / "embedded"), chosen, None, shown="embedded")
    if name.startswith("open_clip:"):
        return _load_open_clip(name.removeprefix("open_clip:"), chosen, name)
    prefix, colon, rest = name.partition(":")
    if colon and prefix in plugins.ENCODERS:
        return _load_plugin(name, rest, chosen, revision)
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if name.startswith((".", "/", "~")):
            raise InvalidInput(f"there is no folder {name}; an encoder is a folder, a hub id or one of {', '.join(KNOWN)}")
        if name.count("/") != 1:
            plugins.require_loaded("encoder", prefix)
            raise UnknownName("encoder", name, [*KNOWN, *(f"{plugin}:..." for plugin in plugins.ENCODERS)])
        return _load_huggingface(name, chosen, revision, shown=name)
    if (folder / "open_clip_config.json").exists():
        return _load_open_clip(f"local-dir:{folder}", chosen, folder.resolve().name)
    if not (folder / "config.json").exists():
        raise InvalidInput(
            f"the folder {folder} holds neither config.json (Hugging Face) nor open_clip_config.json (open_clip)"
        )
    return _load_huggingface(str(folder), chosen, revision, shown=folder.resolve().name)


def wrap_encoder(
    model: Any, processor: Any = None, tokenizer: Any = None, *, name: str = "custom", revision: str | None = None
) -> DualEncoder:
    """Describe a Hugging Face or open_clip dual encoder that is already in memory, and verify it."""
    plugins.load()
    if type(model).__module__.startswith("open_clip."):
        from benchmark.encoders.open_clip import wrap
    else:
        from benchmark.encoders.huggingface import wrap
    encoder = wrap(model, processor, tokenizer, name=name, revision=revision)
    return _verified(encoder)


def _load_plugin(name: str, rest: str, device: torch.device, revision: str | None) -> DualEncoder:
    """Call an installed package's loader; an encoder made of parts compares itself, if it can, when it is made."""
    encoder = plugins.ENCODERS[name.partition(":")[0]](rest, device, revision)
    if not isinstance(encoder, DualEncoder):
        raise BenchmarkError(f"the plug-in behind {name!r} gave a {type(encoder).__name__}; it has to return a DualEncoder")
    return encoder if isinstance(encoder, CustomEncoder) else _verified(encoder)


def _load_huggingface(source: str, device: torch.device, revision: str | None, *, shown: str) -> DualEncoder:
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

    from benchmark.encoders.huggingface import wrap

    try:
        with _hub(local=Path(source).is_dir()):
            config = AutoConfig.from_pretrained(source, revision=revision)
            pinned = getattr(config, "_commit_hash", None) or revision
            model = AutoModel.from_pretrained(source, revision=pinned, dtype=torch.float32)
            processor = AutoImageProcessor.from_pretrained(source, revision=pinned)
            tokenizer = AutoTokenizer.from_pretrained(source, revision=pinned)
    except (OSError, ValueError, ImportError, SafetensorError) as error:
        raise BenchmarkError(
            f"no encoder could be loaded as {shown!r}: {_first_line(error)} (known: {', '.join(KNOWN)}; "
            "or a hub id, open_clip:<architecture>/<tag>, or a folder)"
        ) from error
    found = fingerprint(Path(source)) if Path(source).is_dir() else pinned
    return _verified(wrap(model.to(device), processor, tokenizer, name=shown, revision=found))


def _load_open_clip(specification: str, device: torch.device, shown: str) -> DualEncoder:
    import open_clip

    from benchmark.encoders.open_clip import wrap

    architecture, tag, quick_gelu, revision = specification, "", False, None
    if specification.startswith("local-dir:"):
        revision = fingerprint(Path(specification.removeprefix("local-dir:")))
    elif not specification.startswith("hf-hub:"):
        architecture, _, tag = specification.partition("/")
        if architecture not in open_clip.list_models():
            near = get_close_matches(architecture, open_clip.list_models(), n=8, cutoff=0.3)
            raise UnknownName("open_clip architecture", architecture, near or open_clip.list_models())
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        if tag and tag not in tags and not Path(tag).is_file():
            raise UnknownName(f"pretrained tag of {architecture}", tag, tags)
        quick_gelu = bool(open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu")) if tag else False
        revision = tag or "random-weights-0"
    try:
        with _hub(local=not tag and not specification.startswith("hf-hub:")), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # without a tag the weights are random; at least they are always the same
            model, _, processor = open_clip.create_model_and_transforms(
                architecture, pretrained=tag or None, device=device, force_quick_gelu=quick_gelu
            )
            tokenizer = open_clip.get_tokenizer(architecture)
    except (OSError, RuntimeError, ValueError, ImportError, SafetensorError) as error:
        raise BenchmarkError(f"open_clip could not load {specification!r}: {_first_line(error)}") from error
    return _verified(wrap(model, processor, tokenizer, name=shown, revision=revision))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _hub(*, local: bool) -> Generator[None]:
    """Load quietly, from files alone if they are local or the hub's name does not resolve.

    huggingface_hub would retry for half a minute before it gave up on a hub out of reach.
    """
    from huggingface_hub import constants
    from transformers.utils import logging

    known, bars = constants.HF_HUB_OFFLINE, logging.is_progress_bar_enabled()
    constants.HF_HUB_OFFLINE = known or local or not _resolves(constants.ENDPOINT)
    if local:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = known
        if bars:
            logging.enable_progress_bar()


def _resolves(address: str) -> bool:
    """Tell whether the name of a web address can be looked up, or a proxy would look it up."""
    try:
        return bool(getproxies().get("https")) or bool(socket.getaddrinfo(urlsplit(address).hostname, 443))
    except OSError:
        return False


def fingerprint(folder: Path) -> str:
    """Return a hash of the files in a folder that decide what an encoder computes."""
    digest = sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".bin", ".pt", ".model") or path.name in SETTINGS:
            digest.update(path.name.encode())
            with path.open("rb") as file:
                while chunk := file.read(1 << 22):
                    digest.update(chunk)
    return digest.hexdigest()[:12]


@torch.no_grad()
def _verified(encoder: DualEncoder) -> DualEncoder:
    """Run the probe pair: smooth noise, and ids that the tokenizer or the vocabulary gives."""
    generator = torch.Generator().manual_seed(0)
    height, width = encoder.frame_size
    pixel_values = torch.randn(1, 3, height, width, generator=generator).to(encoder.device)
    encoder.verify(pixel_values, encoder.probe_ids().to(encoder.device))
    return encoder
