"""What a file in `architectures/` says of its family, beside the modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ckptconv.base.discovery import Registry
from ckptconv.base.strict_json import Json
from ckptconv.schema.config import Config
from ckptconv.schema.fixes import Healing
from ckptconv.schema.tensors import Modules, NamingName

ModuleTable: TypeAlias = Callable[[Config], Modules]
Settings: TypeAlias = Callable[[Config], Mapping[str, Json]]
Refusals: TypeAlias = Callable[[Config], Mapping[NamingName, str]]


InputKind: TypeAlias = Literal["tokens", "pixels", "samples", "features"]
"""What an encoder reads: token ids, an image, a waveform, or a spectrogram."""


def no_modules(_config: Config) -> Modules:
    """Say that a family has none."""
    return ()


def no_limits(_config: Config) -> Mapping[NamingName, str]:
    """Say that every config of a family is fine in every naming."""
    return {}


def no_settings(_config: Config) -> Mapping[str, Json]:
    """Say that nothing is to be added."""
    return {}


@dataclass(frozen=True, slots=True)
class StandIn:
    """A class of another family that computes a model exactly, where a naming has none of the family's own."""

    model_type: str
    """What the output's config says, so that the class is found."""
    name: str
    """How people call it."""
    settings: Settings = no_settings
    """Config keys that this class needs beside."""
    notice: str = ""
    """What the user must know of inputs that it answers otherwise."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """A family as `AutoModel` builds it."""

    modules: ModuleTable
    classes: Mapping[NamingName, str]
    """Class in transformers 4.57.6; a naming without one is absent."""
    healings: tuple[Healing, ...] = ()
    """What Flax's composite class gets wrong with this encoder and weights can mend."""
    refused: Mapping[NamingName, str] = field(default_factory=dict)
    """Namings whose class exists and does not work in the composite -> the reason."""
    limits: Refusals = no_limits
    """What a config asks for and a naming's class cannot do: naming -> the reason."""
    reads: InputKind = "tokens"
    width: Callable[[Config], int] | None = None
    """Features of its last states, where they follow from other keys than `hidden_size`."""
    one_size: bool = False
    """True where its classes refuse an image of another size than the config's."""
    stand_ins: Mapping[NamingName, StandIn] = field(default_factory=dict)


SideName: TypeAlias = Literal["encoder", "decoder"]


@dataclass(frozen=True, slots=True)
class Standalone:
    """One side of a model of one piece, as a class of PyTorch loads it by itself."""

    model_class: str
    modules: ModuleTable
    """By the paths of that class."""
    below: str = ""
    """What stands before these paths in the whole, and the class does not have; with its dot."""
    no_pair: str = ""
    """Why no composite can have it as its encoder or decoder; empty where one can."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A family as one class with an encoder, a decoder and a head in it: T5, BART, Whisper."""

    modules: ModuleTable
    """Everything, by the paths of the class; each module says which part it belongs to."""
    classes: Mapping[NamingName, str]
    reads: InputKind = "tokens"
    healings: tuple[Healing, ...] = ()
    refused: Mapping[NamingName, str] = field(default_factory=dict)
    notices: Mapping[NamingName, str] = field(default_factory=dict)
    """What the user of a naming's class must know, as shown at conversion."""
    limits: Refusals = no_limits
    settings: Mapping[NamingName, Settings] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    """Role -> the config key of how many positions that side has, where it is not `max_position_embeddings`."""
    stand_ins: Mapping[NamingName, StandIn] = field(default_factory=dict)
    sides: Mapping[SideName, Standalone] = field(default_factory=dict)
    """What stands alone, beside the decoder where the family has a table of one."""
    flax_positions: Literal["order", "mask"] = "order"
    """What Flax's class numbers the decoder's positions by, where PyTorch's goes by the order of the tokens."""


@dataclass(frozen=True, slots=True)
class Twin:
    """Where a module's values may come from: a module beside it, or some of the equal parts of its output."""

    path: str
    first: int = 0
    last: int = 1
    of: int = 1


@dataclass(frozen=True, slots=True)
class Decoder:
    """A family as `AutoModelForCausalLM` builds it, with cross-attention."""

    modules: ModuleTable
    """The base model, without the head."""
    head: ModuleTable
    classes: Mapping[NamingName, str]
    self_attention: Mapping[str, Twin]
    """Path of a cross-attention's module below its layer -> the self-attention's module like it."""
    healings: tuple[Healing, ...] = ()
    refused: Mapping[NamingName, str] = field(default_factory=dict)
    limits: Refusals = no_limits
    settings: Mapping[NamingName, Settings] = field(default_factory=dict)
    """Config keys that a naming's class reads and the config class does not have: the target gets them."""
    stand_ins: Mapping[NamingName, StandIn] = field(default_factory=dict)
    reads_any_width: bool = False
    """True where its cross-attention is as wide as `cross_attention_hidden_size` says, so that no bridge is needed."""
    other_names: ModuleTable = no_modules
    """Modules of the other classes in which the family is published that are the decoder's by another name: tied to
    its own."""


@dataclass(frozen=True, slots=True)
class Family:
    """One `model_type`: its tables, its class names and its config."""

    model_type: str
    base: str = ""
    """Attribute that holds the base model inside the class with a head (PyTorch and Flax)."""
    main_layer: str = ""
    """TF's name for the extra level that its base models have."""
    encoder: Encoder | None = None
    decoder: Decoder | None = None
    whole: Whole | None = None
    defaults: Mapping[str, Json] = field(default_factory=dict)
    """The config class's defaults for every key that the tables read."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Common config name -> the family's own (`attribute_map` in transformers)."""
    positions: Literal["order", "padding", "mask"] = "order"
    """What counts positions: the order of the tokens; the tokens other than padding, from `pad_token_id + 1`;
    those that the mask keeps. Only the first is the same in Flax's composite class where padding is on the left."""
    spare_positions: int = 0
    """Rows at the end of the table of positions at which no token can stand: ProphetNet's decoder looks one ahead."""
    token_types: int = 0
    """Types of tokens, where the config does not say."""


FAMILIES: Registry[str, Family] = Registry("schema.families", "FAMILY", key="model_type")
"""Every family that has a table, by model type."""
