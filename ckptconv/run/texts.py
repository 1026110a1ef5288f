"""Answers to texts, which each class ends by its own rule, and how two of them are judged.

TF counts the start token among the 20 tokens of the default limit, PyTorch and Flax do not; PyTorch counts the tokens
that Whisper begins with beside the limit, TF and Flax within it. An answer that its limit cut says nothing of what
would have come, so it is compared as far as it goes. No limit makes an answer shorter that has ended by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from ckptconv.run.children import Answer


@dataclass(frozen=True, slots=True)
class TextVerdicts:
    """What two sides' answers to texts show."""

    undecided: tuple[int, ...]
    """The texts, as they are counted, whose answers differ in what the limits of the classes make of them alone."""
    notices: tuple[str, ...]
    """Why, in a sentence for each kind."""


def judge_texts(source: Answer, target: Answer) -> TextVerdicts:
    """Say which answers to texts differ by the limits of two classes, or by chance, and by nothing else."""
    differing = [
        number
        for number, (first, second) in enumerate(zip(source.texts, target.texts, strict=True))
        if first != second
    ]
    if differing and all(answer.generation.get("do_sample") for answer in (source, target)):
        why = (
            "the generation config asks for samples, which differ from run to run:"
            " the answers to texts are shown, not judged"
        )
        return TextVerdicts(tuple(differing), (why,))
    reasons = {
        number: _reason(source, target, number)
        for number in differing
        if number < min(len(source.endings), len(target.endings))
    }
    undecided = tuple(number for number, reason in reasons.items() if reason)
    return TextVerdicts(undecided, tuple(dict.fromkeys(filter(None, reasons.values()))))


def _reason(source: Answer, target: Answer, number: int) -> str:
    """Return why two answers differ though their models need not; empty where only the models explain it.

    One class has one rule, so that its own answers are held against each other whole.
    """
    sides = (source, source.endings[number]), (target, target.endings[number])
    (short, first), (long, second) = sorted(sides, key=lambda side: len(side[1].tokens))
    most = len(first.tokens)
    if not most or short.runner == long.runner:
        return ""
    lengths = f"{short.runner} after {most} tokens, {long.runner} after {len(second.tokens)}"
    if first.cut and most < len(second.tokens) and second.tokens[:most] == first.tokens:
        return (
            "the classes end an answer to a text at limits of their own:"
            f" {lengths}; compared up to there"
        )
    if (first.cut or second.cut) and any(_searches_beams(side) for side, _ in sides):
        return (
            "the classes choose among beams by rules of their own where the limit cuts an answer to a text:"
            f" {lengths}; shown, not judged"
        )
    return ""


def _searches_beams(answer: Answer) -> bool:
    beams = answer.generation.get("num_beams")
    return isinstance(beams, int) and beams > 1
