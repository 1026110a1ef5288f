"""How PyTorch spells and stores a module (torch.nn; transformers 4.57.6 for `conv1d`).

`gamma` and `beta` are what checkpoints from before 2019 call a norm's gain and offset.
"""

from ckptconv.schema.tensors import Naming, kinds

NAMING = Naming(
    name="pytorch",
    separator=".",
    number="{}.{}",
    suffix="",
    kinds=kinds("""
        linear          weight     weight            out in
        linear          bias       bias              out
        conv1d          weight     weight            in out
        conv1d          bias       bias              out
        norm            weight     weight|gamma      dim
        norm            bias       bias|beta         dim
        embedding       weight     weight            row dim
        word_embedding  weight     weight            row dim
        affine          weight     weight            dim
        affine          bias       bias              dim
        grouped_linear  weight     weight            group in out
        grouped_linear  bias       bias              outs
        separable_conv  depthwise  depthwise.weight  in 1 kernel
        separable_conv  pointwise  pointwise.weight  out in 1
        separable_conv  bias       bias              out 1
        convolution     weight     weight            out in kernel
        convolution     bias       bias              out
        conv2d          weight     weight            out in high wide
        conv2d          bias       bias              out
        weight_norm_conv gain      parametrizations.weight.original0|weight_g  1 1 kernel
        weight_norm_conv direction parametrizations.weight.original1|weight_v  out in kernel
        weight_norm_conv bias      bias              out
        shared_embedding weight    weight            row dim
        parameter       value      -                 *
        index           value      -                 *
        buffer          value      -                 *
    """),
)
