"""Move encoder-decoder checkpoints between PyTorch, TensorFlow and Flax, and prove that they are the same.

    import ckptconv

    ckptconv.pt2tf("bert2bert", "bert2bert-tf")
    assert ckptconv.verify("bert2bert", "bert2bert-tf").matches

The command line is `ckptconv`; each of its verbs is one function here. The public names stand in `__init__.pyi`, which
type checkers read as it is. Each is imported when it is first used, so that `ckptconv --help` starts at once.
"""

import ast as _ast
from importlib import import_module as _import_module
from pathlib import Path as _Path

_STUB = _Path(__file__).with_suffix(".pyi")
_HOMES = {
    _alias.name: _line.module or ""
    for _line in _ast.parse(_STUB.read_text(encoding="utf-8")).body
    if isinstance(_line, _ast.ImportFrom)
    for _alias in _line.names
}
"""Public name -> the module that defines it."""
__all__ = sorted(_HOMES)  # type checkers read the stub


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'ckptconv' has no attribute {name!r}")
    value = getattr(_import_module(_HOMES[name]), name)
    globals()[name] = value  # from now on without this function
    return value


def __dir__() -> list[str]:
    return __all__
