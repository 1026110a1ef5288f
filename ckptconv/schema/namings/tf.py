"""How the TF classes of transformers 4.57.6 spell and store a module (tf-keras layers, TFConv1D).

`weight` is how TF's families spell the word embeddings that they make with `add_weight`; before
transformers 4.30 also those that are Keras's embeddings today (GPT-2's and CTRL's words, OPT's positions), as
`from_pretrained` reads them still.

The table that the two halves of one piece share lies outside the model's own first level, in a level of its own that
begins and ends like `model.shared`. Source: `strip_model_name_and_prefix` in modeling_tf_utils.py.
"""

from ckptconv.schema.tensors import Naming, kinds


def flat(name: str) -> str:
    """Return how a file without groups spells a name: a first level with `model.` in it stands twice."""
    first = name.split("/", 1)[0]
    return f"{first}/{name}" if "model." in first else name


def unflat(name: str) -> str:
    """Return the name of a tensor that a file without groups spells so."""
    first, _, rest = name.partition("/")
    return rest if "model." in first and rest.startswith(f"{first}/") else name


NAMING = Naming(
    name="tf",
    separator="/",
    number="{}_._{}",
    suffix=":0",
    kinds=kinds("""
        linear          weight     kernel            in out
        linear          bias       bias              out
        conv1d          weight     weight            in out
        conv1d          bias       bias              1 out
        norm            weight     gamma             dim
        norm            bias       beta              dim
        embedding       weight     embeddings|weight row dim
        word_embedding  weight     weight            row dim
        affine          weight     weight            dim
        affine          bias       bias              dim
        grouped_linear  weight     kernel            out in group
        grouped_linear  bias       bias              outs
        separable_conv  depthwise  depthwise_kernel  kernel in 1
        separable_conv  pointwise  pointwise_kernel  1 in out
        separable_conv  bias       bias              out
        convolution     weight     kernel            kernel in out
        convolution     bias       bias              out
        conv2d          weight     kernel            high wide in out
        conv2d          bias       bias              out
        shared_embedding weight    embeddings|weight row dim
        parameter       value      -                 *
        index           value      -                 *
    """),
)
