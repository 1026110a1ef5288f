"""What transformers 4.57.6 does for the same job; run by bench.py and models.py in a process of its own.

python benchmarks/peers.py split-tf|from-pt-flax SOURCE PARTS TARGET
python benchmarks/peers.py CLASS SOURCE TARGET     such as TFT5ForConditionalGeneration
"""

from __future__ import annotations

import sys


def split_tf(parts: str, target: str) -> None:
    """Load both halves from PyTorch, call the model once (else it refuses to save), save."""
    import tensorflow as tf
    from transformers import TFEncoderDecoderModel

    model = TFEncoderDecoderModel.from_encoder_decoder_pretrained(
        f"{parts}/encoder", f"{parts}/decoder", encoder_from_pt=True, decoder_from_pt=True
    )
    ids = tf.constant([[101, 2000, 102]])
    model(input_ids=ids, decoder_input_ids=ids)
    model.save_pretrained(target)


def from_pt_flax(source: str, target: str) -> None:
    """Load the whole from PyTorch, save."""
    from transformers import FlaxEncoderDecoderModel

    FlaxEncoderDecoderModel.from_pretrained(source, from_pt=True).save_pretrained(target)


def from_pt(class_name: str, source: str, target: str) -> None:
    """Load a whole model from PyTorch with a class of TF or Flax, save.

    Flax's T5 needs the keywords of `jnp.clip` that jax 0.10 dropped; they are given back, or it could not be timed.
    """
    import transformers

    if class_name.startswith("FlaxT5"):
        import jax.numpy as jnp

        clip = jnp.clip
        jnp.clip = lambda array, a_min=None, a_max=None: clip(array, a_min, a_max)
    model = getattr(transformers, class_name).from_pretrained(source, from_pt=True)
    model.save_pretrained(target)


if __name__ == "__main__":
    way, source, *targets = sys.argv[1:]
    if way == "split-tf":
        split_tf(*targets)
    elif way == "from-pt-flax":
        from_pt_flax(source, targets[1])
    else:
        from_pt(way, source, targets[0])
