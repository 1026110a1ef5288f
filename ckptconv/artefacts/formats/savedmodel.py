"""TensorFlow SavedModel: `generate`, `generate_beam`, `encode` and `step` as signatures, of plain operations.

The directory is the SavedModel: `tf.saved_model.load` and TensorFlow Serving read it as it is. The weights lie in its
variables, each once, in the checkpoint's dtype and under its names, also those that no program uses;
`model.safetensors` does not stay.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ckptconv.artefacts.formats import ArtefactFormat, UsageExample, Work
from ckptconv.base.strict_json import Json

SETTINGS = "_with_settings"
"""Ends the name of a signature that takes the settings of a search as inputs."""

EXAMPLE = """\
model = tf.saved_model.load(str(HERE))


def generate(input_ids, attention_mask):
    answer = model.signatures["generate"](
        input_ids=tf.constant(input_ids), attention_mask=tf.constant(attention_mask)
    )
    return answer["sequences"].numpy()
"""


def write(work: Work) -> dict[str, Json]:
    """Write the SavedModel; return what the record says of each signature."""
    from ckptconv.artefacts.lowering import prepare, saved_model

    tensors = prepare.stored(work)
    programs = prepare.core_programs(work.traced, prepare.stored_names(work.traced.model, tensors))
    programs |= prepare.searches(work.traced, work.search, beams=True)
    limits, halves = prepare.limits(work.traced), prepare.half_dtypes(tensors)
    unused = partial(prepare.stored_apart, work)
    variables = saved_model.write(work.folder, programs, limits, halves, unused)
    signatures: dict[str, Any] = {}
    for name, program in programs.items():
        signatures[name] = {"file": "saved_model.pb", **prepare.signature(program, controls=False)}
        if program.controls:
            controlled = prepare.signature(program, controls=True)
            signatures[name + SETTINGS] = {"file": "saved_model.pb", **controlled}
    return {
        "programs": signatures,
        "weights": [name for name in sorted(variables) if name in tensors],
    }


FORMAT = ArtefactFormat(
    name="savedmodel",
    extra="savedmodel",
    modules=("torch", "transformers", "safetensors", "tensorflow"),
    runner="savedmodel",
    write=write,
    example=UsageExample(
        needs="tensorflow, numpy and a tokenizer library",
        imports="import tensorflow as tf",
        generate=EXAMPLE,
    ),
    traces_search=True,
    keeps_weights=False,
)
