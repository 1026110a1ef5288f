"""What transformers 4.57.6 does for the same job; run by bench.py in a process of its own.

python benchmarks/peers.py split-tf|from-pt-flax SOURCE PARTS TARGET
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


if __name__ == "__main__":
    way, source, parts, target = sys.argv[1:]
    if way == "split-tf":
        split_tf(parts, target)
    else:
        from_pt_flax(source, target)
