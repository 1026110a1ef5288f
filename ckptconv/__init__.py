"""Move encoder-decoder checkpoints between PyTorch, TensorFlow and Flax, and prove that they are the same.

    import ckptconv

    ckptconv.pt2tf("bert2bert", "bert2bert-tf")
    assert ckptconv.verify("bert2bert", "bert2bert-tf").matches

The command line is `ckptconv`; each of its verbs is one function here. The public names stand in `__init__.pyi`, which
type checkers read as it is. Each is imported when it is first used, so that `ckptconv --help` starts at once.
"""

from functools import cache as _cache
from importlib import import_module as _import_module
from pathlib import Path as _Path


@_cache
def _homes() -> dict[str, str]:
    """Return public name -> the module that defines it; read when a name is first asked for, which help never does."""
    import ast

    stub = _Path(__file__).with_suffix(".pyi")
    return {
        alias.name: line.module or ""
        for line in ast.parse(stub.read_text(encoding="utf-8")).body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }


def __getattr__(name: str) -> object:
    if name == "__all__":  # type checkers read the stub
        return __dir__()
    if name not in _homes():
        raise AttributeError(f"module 'ckptconv' has no attribute {name!r}")
    value = getattr(_import_module(_homes()[name]), name)
    globals()[name] = value  # from now on without this function
    return value


def __dir__() -> list[str]:
    return sorted(_homes())
