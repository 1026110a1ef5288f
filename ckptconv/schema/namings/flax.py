"""How the Flax classes of transformers 4.57.6 spell and store a module (flax.linen, FlaxConv1D)."""

from ckptconv.schema.tensors import Naming, kinds

NAMING = Naming(
    name="flax",
    separator="/",
    number="{}/{}",
    suffix="",
    kinds=kinds("""
        linear          weight     kernel            in out
        linear          bias       bias              out
        conv1d          weight     kernel            out in
        conv1d          bias       bias              out
        norm            weight     scale             dim
        norm            bias       bias              dim
        embedding       weight     embedding         row dim
        word_embedding  weight     embedding         row dim
        affine          weight     scale             dim
        affine          bias       bias              dim
        grouped_linear  weight     kernel            group in out
        grouped_linear  bias       bias              outs
        separable_conv  depthwise  depthwise/kernel  kernel 1 in
        separable_conv  pointwise  pointwise/kernel  1 in out
        separable_conv  bias       bias              out
        convolution     weight     kernel            kernel in out
        convolution     bias       bias              out
        conv2d          weight     kernel            high wide in out
        conv2d          bias       bias              out
        weight_norm_conv gain      weight_g          1 1 kernel
        weight_norm_conv direction weight_v          out in kernel
        weight_norm_conv bias      bias              out
        shared_embedding weight    embedding         row dim
        parameter       value      -                 *
    """),
)
