"""sha256 of every tensor as PyTorch spells and stores it, so that weights can be compared without the source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

from ckptconv.binding.bind import bind_whole
from ckptconv.binding.plan import Fill, Move, integer_constants, make_plan
from ckptconv.compare.comparison import check_constants, check_equal
from ckptconv.schema.fixes import Healed
from ckptconv.schema.model import Model
from ckptconv.stores.checkpoint import Checkpoint
from ckptconv.stores.tensor import TensorSpec, require_checksums
from ckptconv.transfer.pieces import OpenFiles, Pieces

STORED = ("float32", "float16", "bfloat16")
"""What a target may be stored as; the dtype of the source comes to these."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """One tensor, as PyTorch spells it."""

    name: str
    dtype: str
    """In which it is stored."""
    shape: tuple[int, ...]
    sha256: Mapping[str, str]
    """dtype -> digest of the data, row-major, little-endian, cast to it [64 hex digits]."""
    origin: str
    """As the checkpoint itself spells it; empty for values that it leaves out because they are known."""

    @property
    def spec(self) -> TensorSpec:
        """Name, dtype and shape."""
        return TensorSpec(self.name, self.dtype, self.shape)


def fingerprints(
    checkpoint: Checkpoint,
    model: Model,
    casts: Iterable[str] = (),
    progress: Callable[[int], None] = lambda nbytes: None,
    *,
    fixes: Iterable[Healed] = (),
    absent: Collection[str] = (),
) -> dict[str, Fingerprint]:
    """Return PyTorch's name -> digest, of everything that PyTorch's class loads of a checkpoint.

    Args: casts: dtypes to digest beside the stored one. progress: called with bytes that were hashed.
    fixes: what was mended in the checkpoint beside what its config records. absent: PyTorch's names of what it may
    lack; those have no digest.
    Raises: PlanError: tensors are missing, too many or misshapen. SourceError: a checksum is wrong.
    """
    binding = bind_whole(model, checkpoint, fixes)
    lacks = {
        key: Fill()
        for key, tensor in binding.tensors.items()
        if key not in binding.stored and not {*tensor.names_in("pytorch")}.isdisjoint(absent)
    }
    plan = make_plan(binding, "pytorch", what=str(checkpoint.path), fills=lacks)
    require_checksums(plan.sources.values())
    check_equal(plan.equalities)
    check_constants([*integer_constants(binding)])
    prints = {}
    with OpenFiles() as files:
        pieces = Pieces(files)
        for move in plan.moves:
            if move.tensor.key in lacks:
                continue
            if not binding.names[move.tensor.key] and move.source is None:
                continue  # its framework has no place for it, so that nothing can be said of it
            spec = move.target
            dtypes = () if move.tensor.integers("pytorch") else casts
            digests = {
                dtype: _digest(pieces, move, dtype)
                for dtype in dict.fromkeys((spec.dtype, *dtypes))
            }
            origin = move.source.spec.name if move.source else ""
            prints[spec.name] = Fingerprint(spec.name, spec.dtype, spec.shape, digests, origin)
            progress(spec.nbytes)
    return prints


def _digest(pieces: Pieces, move: Move, dtype: str) -> str:
    digest = sha256()
    for piece in pieces.of(replace(move, target=replace(move.target, dtype=dtype))):
        digest.update(piece)
    return digest.hexdigest()
