"""Each processor changes scores as the class of transformers does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ckptconv.artefacts.generation.settings import Search

pytestmark = [pytest.mark.frameworks, pytest.mark.filterwarnings("ignore")]

WORDS, ROWS, LENGTH, SOURCE = 23, 6, 12, 9


def _cases() -> dict[str, tuple[dict[str, Any], Callable[[Any, Any, Any], Any]]]:
    """Return settings of a search, and the class of transformers that stands for them."""
    return {
        "ngrams": ({"no_repeat_ngram_size": 2}, lambda p, e, _: p.NoRepeatNGramLogitsProcessor(2)),
        "one word": (
            {"no_repeat_ngram_size": 1},
            lambda p, e, _: p.NoRepeatNGramLogitsProcessor(1),
        ),
        "source ngrams": (
            {"encoder_no_repeat_ngram_size": 3},
            lambda p, e, _: p.EncoderNoRepeatNGramLogitsProcessor(3, e),
        ),
        "source penalty": (
            {"encoder_repetition_penalty": 1.7},
            lambda p, e, _: p.EncoderRepetitionPenaltyLogitsProcessor(1.7, e),
        ),
        "bad words": (
            {"bad_words": ((3,), (4, 5), (6, 7, 8), (0, 1))},
            lambda p, e, _: p.NoBadWordsLogitsProcessor([[3], [4, 5], [6, 7, 8], [0, 1]], 2),
        ),
        "biases": (
            {"biases": (((3,), 2.0), ((4, 5), -1.5), ((1, 5), 0.5))},
            lambda p, e, _: p.SequenceBiasLogitsProcessor({(3,): 2.0, (4, 5): -1.5, (1, 5): 0.5}),
        ),
        "first": ({"forced_bos": 9}, lambda p, e, _: p.ForcedBOSTokenLogitsProcessor(9)),
        "last": (
            {"forced_eos": (2, 4)},
            lambda p, e, _: p.ForcedEOSTokenLogitsProcessor(LENGTH, [2, 4]),
        ),
        "decay": (
            {"decay": (3, 1.3)},
            lambda p, e, _: p.ExponentialDecayLengthPenalty((3, 1.3), 2, 1),
        ),
        "suppressed": (
            {"suppressed": (5, 6)},
            lambda p, e, _: p.SuppressTokensLogitsProcessor([5, 6]),
        ),
        "begin": (
            {"begin_suppressed": (5, 6)},
            lambda p, e, _: p.SuppressTokensAtBeginLogitsProcessor([5, 6], 1),
        ),
        "invalid": ({"remove_invalid": True}, lambda p, e, _: p.InfNanRemoveLogitsProcessor()),
    }


@pytest.mark.parametrize("name", _cases())
@pytest.mark.parametrize("count", [1, 2, 3, 7, LENGTH - 1])
def test_scores_are_those_of_transformers(name: str, count: int) -> None:
    """With few words, so that tokens and n-grams repeat; what lies beyond the answer must not count."""
    import torch
    from transformers.generation import logits_process

    from ckptconv.artefacts.generation.processors import Controls, processors_of

    settings, reference = _cases()[name]
    torch.manual_seed(count)
    tokens, source = torch.randint(0, 9, (ROWS, LENGTH)), torch.randint(0, 9, (ROWS, SOURCE))
    scores = torch.randn(ROWS, WORDS)
    if name == "invalid":
        scores[0, 3], scores[1, 4], scores[2, 5] = float("nan"), float("inf"), float("-inf")
    search = Search(start=1, pad=0, ends=(2,), max_length=LENGTH, **settings)
    controls = Controls(torch.tensor(0), torch.tensor(1.0))
    ours = processors_of(search, LENGTH, controls, source)
    expected = reference(logits_process, source, None)(tokens[:, :count], scores.clone())
    assert torch.equal(ours(tokens, torch.tensor(count), scores), expected)


def test_a_token_that_only_the_encoder_knows_forbids_none() -> None:
    """The vocabulary of an encoder may be the larger one; PyTorch fails only where such a token is to be forbidden."""
    import torch
    from transformers.generation import logits_process

    from ckptconv.artefacts.generation.processors import Controls, processors_of

    source, tokens = torch.tensor([[WORDS + 9, 3, 5]]), torch.tensor([[1, 3, 0, 0]])
    scores = torch.randn(1, WORDS)
    search = Search(start=1, pad=0, ends=(), max_length=4, encoder_no_repeat_ngram_size=2)
    ours = processors_of(search, 4, Controls(torch.tensor(0), torch.tensor(1.0)), source)
    reference = logits_process.EncoderNoRepeatNGramLogitsProcessor(2, source)
    expected = reference(tokens[:, :2], scores.clone())
    assert torch.equal(ours(tokens, torch.tensor(2), scores), expected)


@pytest.mark.parametrize("count", [1, 5, LENGTH - 1])
def test_controls_are_those_of_transformers(count: int) -> None:
    """`min_length` and `repetition_penalty`, which a caller may set at each call."""
    import torch
    from transformers.generation import logits_process

    from ckptconv.artefacts.generation.processors import Controls, processors_of

    torch.manual_seed(count)
    tokens, scores = torch.randint(0, 9, (ROWS, LENGTH)), torch.randn(ROWS, WORDS)
    search = Search(start=1, pad=0, ends=(2, 4), max_length=LENGTH)
    ours = processors_of(search, LENGTH, Controls(torch.tensor(6), torch.tensor(1.4)))
    penalized = logits_process.RepetitionPenaltyLogitsProcessor(1.4)(tokens[:, :count], scores)
    expected = logits_process.MinLengthLogitsProcessor(6, [2, 4])(tokens[:, :count], penalized)
    assert torch.equal(ours(tokens, torch.tensor(count), scores), expected)


@pytest.mark.parametrize(("k", "p"), [(0, 1.0), (5, 1.0), (0, 0.6), (7, 0.8), (99, 0.01)])
def test_sampling_keeps_the_tokens_that_transformers_keeps(k: int, p: float) -> None:
    """`top_k` and `top_p`, one after the other; 0 and 1 keep all."""
    import torch
    from transformers.generation import logits_process

    from ckptconv.artefacts.generation.sampling import top_k, top_p

    torch.manual_seed(k)
    scores = 3 * torch.randn(ROWS, WORDS)
    expected = scores
    if k:
        expected = logits_process.TopKLogitsWarper(k)(None, expected)
    if p < 1:
        expected = logits_process.TopPLogitsWarper(p)(None, expected)
    assert torch.equal(top_p(top_k(scores, torch.tensor(k)), torch.tensor(p)), expected)


def test_a_seed_draws_by_the_probabilities() -> None:
    """Over many rows, steps and seeds, each token comes up as often as it should, and rows differ."""
    import torch

    from ckptconv.artefacts.generation.sampling import Sampling

    scores = torch.tensor([0.0, 1.0, 2.0, -1.0]).expand(500, 4)
    drawn = []
    for seed in range(10):
        sampling = Sampling(
            torch.tensor(1.0), torch.tensor(0), torch.tensor(1.0), torch.tensor(seed)
        )
        drawn += [
            sampling.draw(scores, torch.tensor(step), renormalizes=False) for step in range(1, 11)
        ]
    counts = torch.bincount(torch.cat(drawn), minlength=4).double()
    expected = torch.softmax(scores[0].double(), -1) * counts.sum()
    chi = float(((counts - expected) ** 2 / expected).sum())
    assert chi < 21.1  # three degrees of freedom, one in ten thousand
    assert len({tuple(tokens.tolist()) for tokens in drawn}) == len(drawn)
