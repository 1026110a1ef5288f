"""Pairs that PyTorch alone can hold: each matches itself, whatever its class cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptconv.run.children import Answer, run_batches
from ckptconv.run.forward import ForwardReport, Runnable, prepare
from ckptconv.schema.model import read_model
from ckptconv.stores.checkpoint import read_config
from tiny import decoders, encoders, plain, random_pair

ODD = {("bert", "big_bird"), ("bert", "prophetnet")}
"""BigBird's class cannot generate behind another's encoder, and ProphetNet's cached steps are not its full pass."""


def pairs() -> set[tuple[str, str]]:
    """Return the pairs of a bert with each family that neither TF nor Flax runs on that side."""
    first = set(encoders()) - set(encoders("tf")) - set(encoders("flax"))
    second = set(decoders()) - set(decoders("tf")) - set(decoders("flax"))
    return {(family, "bert") for family in first} | {("bert", family) for family in second} | ODD


def reports(chosen: set[tuple[str, str]], folder: Path) -> dict[tuple[str, str], ForwardReport]:
    """Let one process answer for all pairs, and hold each answer against itself."""
    comparisons = {}
    for encoder, decoder in sorted(chosen):
        pair = random_pair(plain(encoder), plain(decoder), folder / f"{encoder}-{decoder}")
        model, side = read_model(read_config(pair)), Runnable("pytorch", pair)
        comparisons[encoder, decoder] = prepare(model, side, side)
    answers = run_batches([[comparison.jobs[0] for comparison in comparisons.values()]])[0]
    judged = {}
    for (pair_name, comparison), answer in zip(comparisons.items(), answers, strict=True):
        assert isinstance(answer, Answer), (pair_name, answer)
        judged[pair_name] = comparison.judge(answer, answer)
    return judged


@pytest.mark.frameworks
def test_classes_that_fail_or_disagree_with_themselves(tmp_path: Path) -> None:
    """What the source's class cannot do is said and not compared; what its cache computes is what is owed."""
    judged = reports(ODD, tmp_path)
    assert all(report.matches for report in judged.values())
    big_bird, prophetnet = (judged[pair] for pair in sorted(ODD))
    assert [generation.name for generation in big_bird.generations] == []
    assert sum("own class fails there" in notice for notice in big_bird.notices) == 2
    assert [generation.name for generation in prophetnet.generations] == ["greedy", "beam"]
    assert any("than its own full pass" in notice for notice in prophetnet.notices)


@pytest.mark.frameworks
@pytest.mark.soak
def test_every_pair_matches_itself(tmp_path: Path) -> None:
    """Of every family on each side, all quantities are within the yardstick and all tokens equal."""
    judged = reports(pairs(), tmp_path)
    assert len(judged) > len(ODD)
    assert [pair for pair, report in judged.items() if not report.matches] == []
    odd = {
        pair
        for pair, report in judged.items()
        if report.source.unable or len(report.generations) < 2
    }
    assert odd == {("bert", "big_bird")}
