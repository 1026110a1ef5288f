"""An encoder-decoder of one piece: one class of transformers holds encoder, decoder and head, as T5's and BART's do.

Source: transformers 4.57.6, `MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING` and `MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ckptconv.base.errors import SourceError
from ckptconv.schema.config import Config
from ckptconv.schema.family import Decoder, Family, SideName, Standalone, Whole
from ckptconv.schema.model import Model, Part, read_part
from ckptconv.schema.tensors import Module, NamingName, part, under


@dataclass(frozen=True)
class Seq2Seq(Model):
    """One part, which is all of the model and has no level before its names."""

    @property
    def whole(self) -> Part:
        """The only part."""
        (part,) = self.parts.values()
        return part

    @property
    def encoder(self) -> Part:
        """The same part: one config says everything of both sides."""
        return self.whole

    @property
    def decoder(self) -> Part:
        """The same part."""
        return self.whole

    @property
    def has_common_loss(self) -> bool:
        """False: TF's classes leave padding out of the loss, PyTorch's only labels of -100."""
        return False

    def notices(self, naming: NamingName) -> Iterator[str]:
        """Return what the user of a framework's class must know."""
        yield from super().notices(naming)
        tables = self.whole.tables
        if isinstance(tables, Whole) and naming in tables.notices:
            yield tables.notices[naming]

    @property
    def sides(self) -> Mapping[SideName, Standalone]:
        """What a class loads by itself: an encoder, a decoder, both or nothing."""
        return sides_of(self.whole.family)

    @property
    def classes(self) -> Mapping[NamingName, str]:
        """The family's own classes."""
        return self.whole.tables.classes


def sides_of(family: Family) -> Mapping[SideName, Standalone]:
    """Return what a class loads by itself of a family's class of one piece; nothing where it has none."""
    sides = dict(family.whole.sides) if family.whole else {}
    if family.whole and family.decoder:
        sides["decoder"] = _causal(family, family.decoder)
    return sides


def _causal(family: Family, tables: Decoder) -> Standalone:
    """Return the decoder as `AutoModelForCausalLM` builds it."""

    def modules(c: Config) -> Iterator[Module]:
        yield from part("decoder", under(family.base, tables.modules(c)))
        yield from part("head", tables.head(c))

    return Standalone(tables.classes["pytorch"], modules)


def read_seq2seq(config: Config) -> Seq2Seq:
    """Return the model of one piece that a config describes.

    Raises: SourceError: a config that no class can take, or that of one side by itself.
    """
    if config.get("is_encoder_decoder") is False:
        raise SourceError(
            f"{config.where}: 'is_encoder_decoder' is false: this is one side of {config.get('model_type')!r} by"
            " itself, as `ckptconv split` writes it, and no whole model.\n"
            "`ckptconv inspect` says which side; `ckptconv join` takes a decoder."
        )
    return Seq2Seq(config, {"": read_part(config, "whole", "")})


def stands_alone(config: Config) -> bool:
    """Tell whether a config is that of one side by itself, although its family has a class of one piece as well."""
    return config.get("is_encoder_decoder") is False or bool(config.decoding)
