"""JAX: a `jax.export` file a program, for CPU, CUDA and TPU, with symbolic batch and lengths; the weights beside them.

`model.safetensors` is the checkpoint's; `constants.safetensors` holds what the class computes and stores nowhere, where
there is something. `load.py` runs it all with jax, numpy and safetensors;
`buckets.py` makes few shapes of many.
"""

from __future__ import annotations

from pathlib import Path

from ckptconv.artefacts.formats import ArtefactFormat, UsageExample, Work
from ckptconv.base.strict_json import Json
from ckptconv.run import loaders

COPIED = {"jax_loader.py": "load.py", "jax_buckets.py": "buckets.py"}
"""Of `run/loaders` -> its name in the artefact."""
ORBAX = "orbax"

EXAMPLE = """\
model = Model(HERE)


def generate(input_ids, attention_mask):
    return model.generate(input_ids=input_ids, attention_mask=attention_mask)["sequences"]
"""


def write(work: Work) -> dict[str, Json]:
    """Write the programs and the loader; return what the record says of each."""
    from ckptconv.artefacts.lowering import jax_export, prepare

    tensors = prepare.stored(work)
    programs = prepare.core_programs(work.traced, prepare.stored_names(work.traced.model, tensors))
    programs |= prepare.searches(work.traced, work.search, beams=True)
    described, used = jax_export.write(work.folder, programs, prepare.limits(work.traced), tensors)
    for source, name in COPIED.items():
        content = (Path(loaders.__file__).parent / source).read_bytes()
        (work.folder / name).write_bytes(content)
    if work.options.get(ORBAX):
        jax_export.write_orbax(work.folder)
    pad = prepare.encoder_pad(work.traced.model)
    return {"programs": described, "weights": [*used], "pad": pad}


FORMAT = ArtefactFormat(
    name="jax",
    extra="jax-export",
    modules=("torch", "transformers", "safetensors", "jax", "flatbuffers"),
    runner="jax_artefact",
    write=write,
    example=UsageExample(
        needs="jax, numpy, safetensors and a tokenizer library",
        imports="\nfrom load import Model",
        generate=EXAMPLE,
    ),
    traces_search=True,
    options=(ORBAX,),
    option_modules={ORBAX: "orbax"},
)
