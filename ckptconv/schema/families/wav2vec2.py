"""wav2vec2, as an encoder of speech.

Source: transformers 4.57.6, models/wav2vec2. The Flax class has one of the two orders of norms alone, and ignores an
epsilon in its feature extractor and adapters in its layers.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckptconv.schema.config import Config
from ckptconv.schema.families._blocks import activation
from ckptconv.schema.families._wav2vec2 import WAV2VEC2_DEFAULTS, adapter, wav2vec2_stack
from ckptconv.schema.family import Encoder, Family
from ckptconv.schema.tensors import Module, NamingName

EPSILON = 1e-5
"""Of the norms in PyTorch's feature extractor, whatever the config says."""


def encoder(c: Config) -> Iterator[Module]:
    """`Wav2Vec2Model`."""
    yield from wav2vec2_stack(c)
    yield from adapter(c)


def limits(c: Config) -> dict[NamingName, str]:
    """What the Flax class lacks or ignores."""
    reasons: dict[NamingName, str] = {}
    functions = activation(c)
    if "flax" in functions:
        reasons["flax"] = functions["flax"]
    if not c.flag("do_stable_layer_norm") or c.text("feat_extract_norm") != "layer":
        reasons["flax"] = "this class has norms before each part and after each convolution alone"
    elif c.get("adapter_attn_dim") is not None:
        reasons["flax"] = "'adapter_attn_dim' is set, and this class ignores it"
    elif c.number("layer_norm_eps") != EPSILON:
        reasons["flax"] = (
            "'layer_norm_eps' is not 1e-05, and this class uses it in its feature extractor, where PyTorch does not"
        )
    return reasons


FAMILY = Family(
    model_type="wav2vec2",
    base="wav2vec2",
    main_layer="wav2vec2",
    encoder=Encoder(
        encoder,
        {"pytorch": "Wav2Vec2Model", "flax": "FlaxWav2Vec2Model"},
        limits=limits,
        reads="samples",
    ),
    defaults={
        **WAV2VEC2_DEFAULTS,
        "layer_norm_eps": 1e-5,
        "add_adapter": False,
        "adapter_kernel_size": 3,
        "adapter_stride": 2,
        "num_adapter_layers": 3,
    },
)
