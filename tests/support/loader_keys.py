"""Which keys of a checkpoint's JSON files the loading code of transformers reads, found in its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

LOADERS = (
    "configuration_utils.py",
    "dynamic_module_utils.py",
    "modeling_attn_mask_utils.py",
    "modeling_flax_utils.py",
    "modeling_tf_utils.py",
    "modeling_utils.py",
    "core_model_loading.py",
    "tokenization_utils.py",
    "tokenization_utils_base.py",
    "tokenization_utils_fast.py",
    "tokenization_utils_tokenizers.py",
    "tokenization_utils_sentencepiece.py",
    "tokenization_python.py",
    "generation/configuration_utils.py",
    "generation/utils.py",
    "integrations/hub_kernels.py",
    "integrations/peft.py",
    "models/auto/auto_factory.py",
    "models/auto/configuration_auto.py",
    "models/auto/modeling_auto.py",
    "models/auto/tokenization_auto.py",
    "models/encoder_decoder/configuration_encoder_decoder.py",
    "models/encoder_decoder/modeling_encoder_decoder.py",
    "models/encoder_decoder/modeling_flax_encoder_decoder.py",
    "models/encoder_decoder/modeling_tf_encoder_decoder.py",
    "utils/hub.py",
    "utils/peft_utils.py",
)
"""What `from_pretrained` of configs, models, tokenizers and generation settings runs, in 4.57.6 and in 5."""
IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{2,}")


def keys(package: Path) -> set[str]:
    """Return every name that these files look up in something: `x["k"]`, `x.get("k")`, `"k" in x`, `getattr(x, "k")`,
    and every attribute of something that is called a config.
    """
    files = [package / name for name in LOADERS if (package / name).is_file()]
    return {key for file in files for key in _keys(ast.parse(file.read_text()))}


def _keys(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        for text in _looked_up(node):
            if IDENTIFIER.fullmatch(text):
                yield text


def _looked_up(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Subscript):
        yield from _text(node.slice)
    elif isinstance(node, ast.Compare) and any(
        isinstance(op, ast.In | ast.NotIn) for op in node.ops
    ):
        yield from _text(node.left)
    elif isinstance(node, ast.Call):
        called = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        if called in ("get", "pop", "setdefault", "getattr", "hasattr", "setattr", "delattr"):
            for argument in node.args[:2]:
                yield from _text(argument)
    elif isinstance(node, ast.Attribute) and "config" in ast.unparse(node.value).lower():
        yield node.attr


def _text(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def vocabulary_arguments(file: Path) -> set[str]:
    """Return the keys of a tokenizer's `VOCAB_FILES_NAMES`: the arguments of its class that are paths."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if (
            isinstance(node, ast.Assign)
            and any(getattr(target, "id", "") == "VOCAB_FILES_NAMES" for target in node.targets)
            and isinstance(node.value, ast.Dict)
        ):
            names |= {text for key in node.value.keys if key for text in _text(key)}
    return names


def attention_kernels(package: Path) -> set[str]:
    """Return the names in `AttentionInterface._global_mapping`, and `eager`."""
    tree = ast.parse((package / "modeling_utils.py").read_text())
    kinds = {"eager"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == "AttentionInterface":
            for mapping in ast.walk(node):
                if isinstance(mapping, ast.Dict):
                    kinds |= {text for key in mapping.keys if key for text in _text(key)}
    return kinds


def path_arguments(package: Path) -> set[str]:
    """Return the arguments of all tokenizers that are paths."""
    files = package.glob("models/*/tokenization_*.py")
    return set().union(*map(vocabulary_arguments, files))
