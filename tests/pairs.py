"""Random pairs, converted and run by the real classes: one process for each framework answers them all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ckptconv.checkpoint import read_config
from ckptconv.composition import compose
from ckptconv.errors import FrameworkError
from ckptconv.evidence.children import Answer, Job, run_batches
from ckptconv.evidence.forward import Comparison, prepare
from ckptconv.evidence.yardstick import ForwardReport
from ckptconv.operations.convert import pt2flax, pt2tf
from ckptconv.operations.writing import WriteOptions
from ckptconv.table import DialectName
from tiny import decoders, encoders, plain, random_pair

FIRST = ("bert", "roberta", "gpt2")
"""Families that are tried in every combination and every format; the others with bert and with themselves."""
SHARD_BYTES = 20_000


@dataclass(frozen=True, slots=True)
class Case:
    """One pair, to one framework, in one format."""

    encoder: str
    decoder: str
    dialect: DialectName
    form: str
    shards: bool = False

    @property
    def runs(self) -> bool:
        """True where the model runs; the other formats of a pair hold the same tensors, and are only loaded."""
        return self.form in ("hdf5", "msgpack") and not self.shards

    def __str__(self) -> str:
        return f"{self.encoder}-{self.decoder}-{self.dialect}-{self.form}{'-shards' if self.shards else ''}"


def cases() -> list[Case]:
    """Return every case, from the data in fixtures/."""
    found = []
    dialects: tuple[tuple[DialectName, str], ...] = (("tf", "hdf5"), ("flax", "msgpack"))
    for dialect, form in dialects:
        pairs = {(encoder, "bert") for encoder in encoders(dialect)} | {("bert", one) for one in decoders(dialect)}
        pairs |= {(one, one) for one in set(encoders(dialect)) & set(decoders(dialect))}
        pairs |= {(encoder, decoder) for encoder in FIRST for decoder in FIRST}
        for encoder, decoder in sorted(pairs):
            found.append(Case(encoder, decoder, dialect, form))
            if encoder in FIRST and decoder in FIRST:
                found.append(Case(encoder, decoder, dialect, form, shards=True))
                found.append(Case(encoder, decoder, dialect, "safetensors"))
                found += [Case(encoder, decoder, dialect, "safetensors", shards=True)] if dialect == "tf" else []
    return found


def reports(root: Path) -> dict[Case, ForwardReport | Answer | FrameworkError]:
    """Make, convert and run every case; the answer of a case that is only loaded stands for itself."""
    made: dict[tuple[str, str], Path] = {}
    comparisons: dict[Case, Comparison] = {}
    for case in cases():
        pair = (case.encoder, case.decoder)
        if pair not in made:
            made[pair] = random_pair(plain(case.encoder), plain(case.decoder), root / "-".join(pair))
        comparisons[case] = prepare(
            compose(read_config(made[pair])), made[pair], _converted(case, made[pair], root), case.dialect
        )
    return _answers(made, comparisons)


def _converted(case: Case, source: Path, root: Path) -> Path:
    target = root / str(case)
    convert = pt2tf if case.dialect == "tf" else pt2flax
    convert(source, target, case.form, WriteOptions(max_shard_bytes=SHARD_BYTES if case.shards else None))
    return target


def _answers(
    made: dict[tuple[str, str], Path], comparisons: dict[Case, Comparison]
) -> dict[Case, ForwardReport | Answer | FrameworkError]:
    """Run three processes, one a framework, and judge what they answer."""
    sources = {pair: next(c.jobs[0] for case, c in comparisons.items() if (case.encoder, case.decoder) == pair)
               for pair in made}  # fmt: skip
    targets = {case: one.jobs[1] if case.runs else Job(case.dialect, one.jobs[1].checkpoint, probes={})
               for case, one in comparisons.items()}  # fmt: skip
    by_dialect = {name: [case for case in targets if case.dialect == name] for name in ("tf", "flax")}
    batches = [list(sources.values()), *([targets[case] for case in some] for some in by_dialect.values())]
    answers = run_batches(batches)
    source_of = dict(zip(sources, answers[0], strict=True))
    found: dict[Case, ForwardReport | Answer | FrameworkError] = {}
    for some, batch in zip(by_dialect.values(), answers[1:], strict=True):
        for case, answer in zip(some, batch, strict=True):
            source = source_of[case.encoder, case.decoder]
            if case.runs and isinstance(answer, Answer) and isinstance(source, Answer):
                found[case] = comparisons[case].judge(source, answer)
            else:
                found[case] = source if isinstance(source, FrameworkError) else answer
    return found
