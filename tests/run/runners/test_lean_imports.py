"""`_imports`: what nothing here needs is not imported, and what asks for it gets it all the same."""

from __future__ import annotations

import subprocess
import sys
import typing
from pathlib import Path
from types import ModuleType

import pytest

from ckptconv.run.runners._imports import PostponedModule, postpone, without_constraints

CHILD = """
import sys
from pathlib import Path
from ckptconv.run.runners import RUNNERS
from ckptconv.run.runners import _imports
from ckptconv.run.runners.__main__ import _import

usual = {}
scan_ends = _imports.CHANGES[_imports.SCANNER]
def change(scanner):
    usual["scan"] = scanner.fetch__all__
    scan_ends(scanner)
_imports.CHANGES[_imports.SCANNER] = change
_import(RUNNERS["pytorch"], lambda: [{"model_class": "EncoderDecoderModel"}])
import torch, transformers
assert isinstance(sys.modules["torch._dynamo"], _imports.PostponedModule)
scan = sys.modules[_imports.SCANNER].fetch__all__
assert scan is not usual["scan"]
for path in Path(transformers.__file__).parent.glob("models/b*/*.py"):
    content = path.read_text("utf-8")
    assert scan(content) == usual["scan"](content), path
folders = sys.modules[_imports.SCANNER].create_import_structure_from_path
assert folders.cache_info().misses < 1.5 * len([*Path(transformers.__file__).parent.glob("models/*/")])

from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex
with TransformGetItemToIndex():
    assert torch.arange(3)[torch.tensor(2)].item() == 2
from torch.utils.checkpoint import checkpoint
weight = torch.ones(2, requires_grad=True)
checkpoint(torch.square, weight, use_reentrant=False).sum().backward()
assert weight.grad.tolist() == [2, 2]
assert isinstance(sys.modules["torch._dynamo"], _imports.PostponedModule)
import torch._dynamo.utils
assert not isinstance(sys.modules["torch._dynamo"], _imports.PostponedModule)
assert torch.compile(torch.neg, backend="eager", fullgraph=True)(torch.ones(2)).tolist() == [-1, -1]
print("done")
"""


@pytest.mark.frameworks
def test_pytorch_compiles_where_something_asks_for_it() -> None:
    """The compiler waits until it is needed, the masks' mode needs less, and transformers exports the same names."""
    child = subprocess.run(
        [sys.executable, "-P", "-c", CHILD], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines()[-1:] == ["done"]


def test_a_postponed_module_runs_when_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name at hand runs nothing; any other does, once, and so does the import of a module within."""
    package = tmp_path / "late_package"
    package.mkdir()
    (package / "__init__.py").write_text("near = 'real'\nfar = [1]\n")
    (package / "within.py").write_text("from late_package import near\n")
    for ask in ("far", "within"):
        for name in ("late_package", "late_package.within"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        assert postpone("late_package", [str(tmp_path)], {"near": "at hand"}) == [str(package)]
        module = sys.modules["late_package"]
        assert isinstance(module, PostponedModule)
        assert module.near == "at hand"
        assert "far" not in vars(module)
        if ask == "far":
            assert module.far is module.far
        else:
            __import__("late_package.within")
            assert sys.modules["late_package.within"].near == "real"
        assert type(module) is ModuleType
        assert (module.near, module.far) == ("real", [1])
    monkeypatch.delitem(sys.modules, "late_package")
    monkeypatch.delitem(sys.modules, "late_package.within")


def test_type_variables_lose_constraints_of_mere_text() -> None:
    """Others stay, what is made is a type variable and known for one, and afterwards all is as it was."""
    usual = typing.TypeVar
    with without_constraints():
        bare = typing.TypeVar("bare", "int", "str")  # type: ignore[misc]
        bound = typing.TypeVar("bound", int, "str")  # type: ignore[misc]
        assert isinstance(bare, typing.TypeVar)
        assert not isinstance(int, typing.TypeVar)
    assert typing.TypeVar is usual
    assert (type(bare), bare.__constraints__, len(bound.__constraints__)) == (usual, (), 2)
