"""How the TF classes of transformers 4.57.6 spell and store a module (tf-keras layers, TFConv1D).

`weight` is how TF's families spell the word embeddings that they make with `add_weight`; before
transformers 4.30 also those that are Keras's embeddings today (GPT-2's and CTRL's words, OPT's positions), as
`from_pretrained` reads them still.
"""

from ckptconv.schema.tensors import Naming, kinds

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
        parameter       value      -                 *
    """),
)
