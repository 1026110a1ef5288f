"""Run as a script: which keys of a checkpoint's JSON files make transformers open another file, fetch, or import?

Every key that the loading code looks up (`loader_keys.py`) gets, one after the other, a value that leads elsewhere;
then the real classes load the directory, and what they open, look for, fetch or import is watched.

    python leading.py CHECKPOINT FILE [PART]     prints {key: [what was touched]} as JSON
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import shutil
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import loader_keys

ELSEWHERE = "elsewhere"
VALUES: tuple[Any, ...] = (
    f"{ELSEWHERE}/{ELSEWHERE}.safetensors",
    ["config.4.0.0.json", "tokenizer.4.0.0.json"],
    dict.fromkeys(
        ("AutoConfig", "AutoModel", "AutoTokenizer", "AutoModelForSeq2SeqLM", "repo"),
        f"{ELSEWHERE}.Thing",
    ),
)
"""A path that is a name on the hub too; files for certain versions; code."""
LEADING = ("transformers_weights", "configuration_files", "attn_implementation", "vocab_file")
"""Keys that are tried in a sample too: they do lead elsewhere."""
MARKS = (ELSEWHERE, "config.4.0.0.json", "tokenizer.4.0.0.json")


class Watch:
    """What was touched of what the values name."""

    def __init__(self) -> None:
        self.touched: set[str] = set()

    def note(self, what: str, *values: object) -> None:
        """Remember a touch, if it is one."""
        if any(mark in str(value) for value in values for mark in MARKS):
            self.touched.add(what)

    def wrap(self, owner: Any, name: str) -> None:
        """Watch a function."""
        real = getattr(owner, name, None)
        if real is None:
            return

        def watched(*args: Any, **options: Any) -> Any:
            self.note(name, *args, *options.values())
            return real(*args, **options)

        setattr(owner, name, watched)


def watch() -> Watch:
    """Watch files, imports, the hub and kernels."""
    import huggingface_hub
    import transformers.dynamic_module_utils
    import transformers.modeling_utils
    import transformers.utils.hub

    seen = Watch()
    kernels = types.ModuleType("kernels")
    kernels.__version__ = "99"  # type: ignore[attr-defined]
    kernels.get_kernel = lambda *args, **_: seen.note("get_kernel", *args)  # type: ignore[attr-defined]
    sys.modules["kernels"] = kernels
    for module in (transformers.utils.hub, transformers.modeling_utils):
        seen.wrap(module, "cached_file")
        seen.wrap(module, "cached_files")
        seen.wrap(module, "safe_open")
        seen.wrap(module, "load_state_dict")
    for owner, name in (
        (builtins, "open"),
        (os, "stat"),
        (importlib, "import_module"),
        (transformers.dynamic_module_utils, "get_class_from_dynamic_module"),
        (huggingface_hub, "hf_hub_download"),
        (huggingface_hub, "snapshot_download"),
    ):
        seen.wrap(owner, name)
    _watch_tokenizers(seen)
    try:
        import transformers.integrations.hub_kernels as hub_kernels

        hub_kernels._kernels_available = True
        for name in ("get_kernel", "load_and_register_kernel", "load_and_register_attn_kernel"):
            if hasattr(hub_kernels, name):
                setattr(hub_kernels, name, lambda *args, _name=name, **_: seen.note(_name, *args))
                for module in list(sys.modules.values()):
                    if getattr(module, "__name__", "").startswith("transformers") and hasattr(
                        module, name
                    ):
                        setattr(module, name, getattr(hub_kernels, name))
    except ImportError:
        pass
    return seen


def _watch_tokenizers(seen: Watch) -> None:
    """Watch what the tokenizers library opens by itself."""
    for name in ("tokenization_utils_fast", "tokenization_utils_tokenizers"):
        with suppress(ImportError):  # one of them is there
            importlib.import_module(f"transformers.{name}")
    for name, module in list(sys.modules.items()):
        real = getattr(module, "TokenizerFast", None)
        if name.startswith("transformers.tokenization") and hasattr(real, "from_file"):

            class Watched:
                """The library's class, watched."""

                def __getattr__(self, attribute: str, real: Any = real) -> Any:
                    return getattr(real, attribute)

                def from_file(self, path: str, real: Any = real) -> Any:
                    """Note the path."""
                    seen.note("from_file", path)
                    return real.from_file(path)

            module.TokenizerFast = Watched()  # type: ignore[attr-defined]


@contextmanager
def silence() -> Iterator[None]:
    """Discard what loading prints."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):  # noqa: PTH123
        yield


def loaders(file: str) -> list[Callable[[Path], Any]]:
    """Return what reads a file."""
    from transformers import AutoModel, AutoTokenizer, EncoderDecoderModel, GenerationConfig

    if file == "config.json":
        return [
            EncoderDecoderModel.from_pretrained,
            AutoTokenizer.from_pretrained,
            AutoModel.from_pretrained,
        ]
    if file == "generation_config.json":
        return [GenerationConfig.from_pretrained, EncoderDecoderModel.from_pretrained]
    return [AutoTokenizer.from_pretrained]


def leading(checkpoint: Path, file: str, part: str) -> dict[str, Any]:
    """Return how many keys were tried, and which lead elsewhere, with the functions by which that was seen."""
    import transformers

    seen, result = watch(), {}
    package = Path(transformers.__file__).parent
    path = checkpoint / file
    original = json.loads(path.read_text()) if path.exists() else {}
    keys = sorted(loader_keys.keys(package) | loader_keys.path_arguments(package))
    step = int(os.environ.get("CKPTCONV_KEYS", "1"))
    keys = sorted({*keys[::step], *LEADING}) if step > 1 else keys
    for key in keys:
        seen.touched.clear()
        for value in VALUES:
            content = json.loads(json.dumps(original))
            (content[part] if part else content)[key] = value
            path.write_text(json.dumps(content))
            for load in loaders(file):
                with silence():
                    try:
                        load(checkpoint)
                    except BaseException as error:
                        if isinstance(error, KeyboardInterrupt):
                            raise
        if seen.touched:
            result[key] = sorted(seen.touched)
    return {"keys": len(keys), "touched": result}


def make_slow(checkpoint: Path) -> None:
    """Give a checkpoint a tokenizer of the slow kind, with a vocabulary file of its own."""
    fast = checkpoint / "tokenizer.json"
    vocabulary = json.loads(fast.read_text())["model"]["vocab"]
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    (checkpoint / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens))
    fast.unlink()
    config = checkpoint / "tokenizer_config.json"
    content = {**json.loads(config.read_text()), "tokenizer_class": "BertTokenizer"}
    config.write_text(json.dumps(content))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkpoint"
        shutil.copytree(sys.argv[1], copy)
        print(json.dumps(leading(copy, sys.argv[2], *(sys.argv[3:] or [""]))))  # noqa: T201
