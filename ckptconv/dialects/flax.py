"""How the Flax classes of transformers 4.57.6 spell and store a module (flax.linen, FlaxConv1D)."""

from ckptconv.table import Dialect, kinds

DIALECT = Dialect(
    name="flax",
    separator="/",
    number="{}/{}",
    suffix="",
    kinds=kinds("""
        linear          weight  kernel     in out
        linear          bias    bias       out
        conv1d          weight  kernel     out in
        conv1d          bias    bias       out
        norm            weight  scale      dim
        norm            bias    bias       dim
        embedding       weight  embedding  row dim
        word_embedding  weight  embedding  row dim
        parameter       value   -          *
    """),
)
