"""LiteRT: `model.tflite` with the signatures `encode` and `step`, all shapes static; a driver in numpy searches.

Options: `batch`, `length` (of the inputs), and `int8`: weights as 8-bit integers. The file is small and loses by that;
how much, the export measures on probes and writes into the record and a notice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckptconv.artefacts.formats import ArtefactFormat, UsageExample, Work
from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json, in_words
from ckptconv.run import loaders

FILE = "model.tflite"
DRIVER = "driver.py"
BATCH, LENGTH = 1, 64
"""Of the inputs, where no option says another; fewer where the encoder has fewer positions."""
WITHOUT_DRIVER: Mapping[str, tuple[str, Any]] = {
    "encoder_repetition_penalty": ("encoder_repetition_penalty", 1.0),
    "encoder_no_repeat_ngram_size": ("encoder_no_repeat_ngram_size", 0),
    "biases": ("sequence_bias", ()),
    "remove_invalid": ("remove_invalid_values", False),
    "decay": ("exponential_decay_length_penalty", None),
    "samples": ("do_sample", False),
    "renormalizes": ("renormalize_logits", False),
}
"""Field of a search -> its name in a generation config, and the value at which the driver is right without it."""

EXAMPLE = """\
model = Model(HERE)


def generate(input_ids, attention_mask):
    return model.generate(input_ids=input_ids, attention_mask=attention_mask)
"""


def write(work: Work) -> dict[str, Json]:
    """Write the file and the driver; return what the record says of each signature.

    Raises: SourceError: the search has a setting that the driver does not know, or more beams than rows.
    """
    from ckptconv.artefacts.lowering import lite, prepare

    sizes, tensors = _sizes(work), prepare.stored(work)
    names = prepare.stored_names(work.traced.model, tensors)
    programs = prepare.core_programs(work.traced, names)
    words = int(getattr(work.traced.model.get_input_embeddings(), "num_embeddings", 0))
    loss, notices = None, list[Json]()
    with tempfile.TemporaryDirectory(prefix="ckptconv-") as name:
        signatures = lite.save(programs, sizes, name)
        prepare.release_weights(work.traced, programs)
        content = lite.converted(name, quantize=False)
        if work.options.get("int8"):
            exact, content = content, lite.converted(name, quantize=True)
            loss = lite.measured_loss(exact, content, signatures, sizes, words)
            notices.append(_said(loss))
    (work.folder / FILE).write_bytes(content)
    driver = Path(loaders.__file__).parent / "litert_driver.py"
    (work.folder / DRIVER).write_bytes(driver.read_bytes())
    used = {name for program in programs.values() for name in program.weights.values()}
    places = lite.places(content, prepare.stored_apart(work, ()))
    return {
        "programs": {name: {"file": FILE, **ends} for name, ends in signatures.items()},
        "weights": [*sorted(used)],
        "stored": places,
        "converted": [name for name in tensors if name not in places],
        "pad": prepare.encoder_pad(work.traced.model),
        "sizes": {"batch": sizes.batch, "length": sizes.length, "max_length": sizes.max_length},
        "int8": dict(loss) if loss else None,
        "notices": notices,
    }


def _said(loss: Mapping[str, float]) -> str:
    """Say what integers cost."""
    return (
        f"int8: the logits are off by {loss['relative_error']:.2%} (root mean square, over random inputs),"
        f" and the best token stays in {loss['same_best_token']:.1%} of the steps; it is not the checkpoint's model"
    )


def _sizes(work: Work) -> Any:
    """Return the fixed sizes. Raises SourceError: they do not fit the class or its search."""
    from ckptconv.artefacts.lowering.lite import Sizes

    search, limit = work.search, work.traced.limits.encoder
    usual = {"batch": BATCH, "length": min(LENGTH, limit or LENGTH)}
    batch, length = (int(str(work.options.get(name) or size)) for name, size in usual.items())
    problems = []
    if search is not None:
        problems += [
            f"{name} = {in_words(getattr(search, field))}: the LiteRT driver has no such setting"
            for field, (name, usual) in WITHOUT_DRIVER.items()
            if getattr(search, field) != usual
        ]
        if search.beams > batch:
            problems.append(
                f"num_beams = {search.beams}: beams are rows; give --batch {search.beams} or more"
            )
    if limit is not None and length > limit:
        problems.append(f"--length {length}: the encoder has {limit} positions")
    if problems:
        raise SourceError("\n".join(problems))
    return Sizes(batch, length, search.max_length if search else length)


FORMAT = ArtefactFormat(
    name="litert",
    extra="litert",
    modules=("torch", "transformers", "safetensors", "tensorflow", "ai_edge_litert"),
    runner="litert",
    write=write,
    example=UsageExample(
        needs="ai-edge-litert, numpy and a tokenizer library",
        imports="\nfrom driver import Model",
        generate=EXAMPLE,
    ),
    traces_search=True,
    options=("batch", "length", "int8"),
    keeps_weights=False,
)
