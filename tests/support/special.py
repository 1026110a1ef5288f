"""Special cases: the models, what ckptconv makes of them, and what the real classes say.

As a program, `special.py tf|flax FOLDER`, it is the child in which the TF or Flax classes themselves save.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ckptconv.base.errors import FrameworkError
from ckptconv.run.children import Answer, environment, run_batches
from ckptconv.run.forward import ForwardReport, Runnable, prepare
from ckptconv.schema.model import read_model
from ckptconv.schema.tensors import NamingName
from ckptconv.stores.checkpoint import read_config
from ckptconv.verbs.convert import pt2flax, pt2tf
from ckptconv.verbs.split import split
from tiny import ROOT, SIDES, plain, random_pair

FORMS: dict[NamingName, tuple[str, str]] = {
    "tf": ("hdf5", "safetensors"),
    "flax": ("msgpack", "safetensors"),
}
RUN: dict[str, tuple[int, str]] = {
    "tied": (1, "an encoder shared with its decoder, each tensor stored once"),
    "bridge": (2, "sides of different widths"),
    "no-pooler": (1, "an encoder without pooler"),
    "float16": (2, "half precision"),
    "bfloat16": (2, "bfloat16"),
    "old": (1, "a config of transformers 3"),
    "v5-bert-bert": (1, "what transformers 5 saved"),
    "v5-roberta-gpt2": (1, "the same"),
}
"""Source -> in how many of FORMS it is converted and run, and what it stands for."""
SAVED = ("bridge", "roberta-roberta")
"""Sources whose targets the TF and Flax classes load and save again."""
WAYS: dict[NamingName, dict[str, dict[str, Any]]] = {
    "tf": {
        "hdf5": {},
        "safetensors": {"safe_serialization": True},
        "shards": {"max_shard_size": "30KB"},
        "safetensors-shards": {"safe_serialization": True, "max_shard_size": "30KB"},
    },
    "flax": {
        "msgpack": {},
        "safetensors": {"safe_serialization": True},
        "shards": {"max_shard_size": "30KB"},
    },
}
"""How the classes save: arguments of `save_pretrained`."""
WORKAROUND = ("bert-gpt2", "roberta-roberta")
"""Sources whose parts TF's `from_encoder_decoder_pretrained` loads."""
REMOVED = ("dtype", "torch_dtype", "transformers_version")
OLD = {
    "xla_device": None,
    "gradient_checkpointing": False,
    "output_past": True,
    "use_bfloat16": False,
    "_num_labels": 2,
    "directionality": "bidi",
}
"""Keys that configs of transformers 2 and 3 have, and no class of 4.57.6 knows."""
BUFFERS = ("attn.bias", "attn.masked_bias", "crossattention.bias", "crossattention.masked_bias")
"""Masks of an attention that old versions saved."""

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One source, to one framework, in one format."""

    source: str
    naming: NamingName
    form: str

    @property
    def runs(self) -> bool:
        """True where the model runs; Flax, which compiles for seconds, only loads its second format."""
        return (self.naming, self.form) != ("flax", "safetensors")

    def __str__(self) -> str:
        return f"{self.source}-{self.naming}-{self.form}"


def cases() -> list[Case]:
    """Return every conversion that is run against its source."""
    return [
        Case(name, naming, form)
        for name, (count, _) in RUN.items()
        for naming, forms in FORMS.items()
        for form in forms[:count]
    ]


SAMPLE = {
    "tied-tf-hdf5",
    "bridge-flax-safetensors",
    "v5-roberta-gpt2-flax-msgpack",
}
"""Cases that `make test` runs: sources that differ in kind, in both frameworks and three formats."""


def make(root: Path) -> None:
    """Make the sources that the tests share, and convert them."""
    source, bert, gpt2 = root / "source", plain("bert"), plain("gpt2")
    random_pair(bert, bert, source / "tied", tie_encoder_decoder=True)
    random_pair(bert, gpt2, source / "bridge", bridge=True)
    random_pair(plain("roberta"), plain("roberta"), source / "roberta-roberta")
    random_pair(bert, gpt2, source / "bert-gpt2")
    for name in ("no-pooler", "old"):
        shutil.copytree(source / "bert-gpt2", source / name)
    save_again(source / "tied", source / "tied-bin", safe_serialization=False)
    save_again(
        source / "bert-gpt2", source / "bin-shards", safe_serialization=False, max_shard_size="50KB"
    )
    for name in ("float16", "bfloat16"):
        save_again(source / "bert-gpt2", source / name, dtype=name)
    strip_pooler(source / "no-pooler")
    age(source / "old" / "config.json")
    for folder in (ROOT / "fixtures" / "v5").iterdir():
        (source / f"v5-{folder.name}").symlink_to(folder)
    for case in {
        *cases(),
        *(Case(name, naming, FORMS[naming][0]) for name in SAVED for naming in FORMS),
    }:
        (pt2tf if case.naming == "tf" else pt2flax)(
            source / case.source, root / "out" / str(case), case.form
        )
    for name in ("tied", "bridge", "no-pooler", *WORKAROUND):
        split(source / name, root / "parts" / name)


def save_again(source: Path, target: Path, dtype: str = "float32", **settings: Any) -> None:
    """Save a checkpoint in another way, with PyTorch's class."""
    kind = import_module("transformers").EncoderDecoderModel
    kind.from_pretrained(source, dtype=getattr(import_module("torch"), dtype)).save_pretrained(
        target, **settings
    )


def strip_pooler(folder: Path) -> None:
    """Take the pooler out, as `add_pooling_layer=False` does."""
    numpy = import_module("safetensors.numpy")
    kept = {
        name: array
        for name, array in numpy.load_file(folder / "model.safetensors").items()
        if "pool" not in name
    }
    numpy.save_file(kept, folder / "model.safetensors", {"format": "pt"})


def age(path: Path) -> None:
    """Make a config like one of transformers 3: no dtype, no version, keys that are gone today."""
    config: Json = json.loads(path.read_text())
    for part in (config, config["encoder"], config["decoder"]):
        part |= OLD
        for key in REMOVED:
            part.pop(key, None)
    for side in SIDES:  # saved in full, with the defaults of their time
        config[side]["return_dict"] = False
    path.write_text(json.dumps(config))


def old_names(held: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a bert -> gpt2 model's tensors as old versions named them, or with what these saved beside."""
    torch = import_module("torch")
    if kind == "gamma and beta":
        spelling = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        result = {}
        for name, value in held.items():
            layer, _, role = name.rpartition("LayerNorm.")
            result[layer + spelling[f"LayerNorm.{role}"] if layer else name] = value
        return result
    if kind == "buffers":
        mask = torch.ones((1, 1, 23, 23), dtype=torch.uint8).tril()
        layers = [f"decoder.transformer.h.{n}" for n in range(2)]
        beside = {
            f"{layer}.{buffer}": torch.tensor(-1e4) if "masked" in buffer else mask
            for layer in layers
            for buffer in BUFFERS
        }
        return {**held, **beside, "encoder.embeddings.position_ids": torch.arange(29)[None]}
    return (
        {f"module.{name}": value for name, value in held.items()}
        if kind == "module"
        else dict(held)
    )


def weights(folder: Path) -> bytes:
    """Return the bytes of a single file of weights."""
    (file,) = (
        folder / name
        for name in ("model.safetensors", "tf_model.h5", "flax_model.msgpack")
        if (folder / name).exists()
    )
    return file.read_bytes()


def tensors(folder: Path) -> dict[str, Any]:
    """Return the tensors of a single file of safetensors."""
    result: dict[str, Any] = import_module("safetensors.torch").load_file(
        folder / "model.safetensors"
    )
    return result


def config(folder: Path) -> dict[str, Any]:
    """Return the config as transformers reads it, without the paths of the models that it was made of."""
    result: dict[str, Any] = (
        import_module("transformers").EncoderDecoderConfig.from_pretrained(folder).to_dict()
    )
    for side in SIDES:
        del result[side]["_name_or_path"]
    return result


def reports(
    root: Path, chosen: Sequence[Case]
) -> dict[Case, ForwardReport | Answer | FrameworkError]:
    """Run cases, in one process for each framework; the answer of a case that is only loaded is its own."""
    compared = {}
    for case in chosen:
        source = root / "source" / case.source
        composition = read_model(read_config(source))
        target = Runnable(case.naming, root / "out" / str(case))
        compared[case] = prepare(composition, Runnable("pytorch", source), target)
    sources = {(case.source, case.naming): one.jobs[0] for case, one in compared.items()}
    targets = {
        case: one.jobs[1] if case.runs else replace(one.jobs[1], probes={}, generate={})
        for case, one in compared.items()
    }
    sides = [[case for case in compared if case.naming == naming] for naming in FORMS]
    answers = run_batches(
        [[*sources.values()], *([targets[case] for case in side] for side in sides)]
    )
    of = dict(zip(sources, answers[0], strict=True))
    result: dict[Case, ForwardReport | Answer | FrameworkError] = {}
    for side, batch in zip(sides, answers[1:], strict=True):
        for case, second in zip(side, batch, strict=True):
            one = of[case.source, case.naming]
            if case.runs and isinstance(one, Answer) and isinstance(second, Answer):
                result[case] = compared[case].judge(one, second)
            else:
                result[case] = one if isinstance(one, FrameworkError) else second
    return result


def resave(root: Path) -> None:
    """Let the TF and Flax classes save what they loaded, in a process each."""
    for naming in FORMS:
        both = {"USE_TORCH": "AUTO", f"USE_{naming.upper()}": "AUTO"}
        paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
        command = [sys.executable, __file__, naming, str(root)]
        process = subprocess.run(
            command,
            env=environment(naming) | both | paths,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert process.returncode == 0, process.stderr[-3000:]


def _child(naming: NamingName, root: Path) -> None:
    """Load and save with the framework's class, wholes and halves; with TF, try the workaround of its documents."""
    transformers = import_module("transformers")
    if naming == "flax":
        _draw_nothing()
    kind = getattr(
        transformers, {"tf": "TFEncoderDecoderModel", "flax": "FlaxEncoderDecoderModel"}[naming]
    )
    for name in SAVED:
        model = kind.from_pretrained(root / "out" / str(Case(name, naming, FORMS[naming][0])))
        for way, settings in WAYS[naming].items():
            model.save_pretrained(root / "saved" / f"{name}-{naming}-{way}", **settings)
    for name in WORKAROUND:
        if naming == "tf":
            np.savez(root / f"workaround-{name}.npz", **_workaround(transformers, root, name))
        else:
            for side, loader in (
                ("encoder", "FlaxAutoModel"),
                ("decoder", "FlaxAutoModelForCausalLM"),
            ):
                kind = getattr(transformers, loader)
                half = kind.from_pretrained(root / "parts" / name / side, from_pt=True)
                half.save_pretrained(root / "halves" / f"{name}-flax" / side)


def _draw_nothing() -> None:
    """Let Flax's classes begin with zeros: they draw, compiled op by op, what `from_pretrained` then puts away.

    What was not loaded would be zero, and differ from the original as a drawn value does.
    """
    jax = import_module("jax")
    for module in ("encoder_decoder", "bert", "roberta", "gpt2"):
        classes = import_module(f"transformers.models.{module}.modeling_flax_{module}")
        for kind in vars(classes).values():
            if isinstance(kind, type) and "init_weights" in vars(kind):
                kind.init_weights = _zeros(jax, kind.init_weights)


def _zeros(jax: Any, usual: Callable[..., Any]) -> Callable[..., Any]:
    def init_weights(model: Any, rng: Any, input_shape: Any, params: Any = None) -> Any:
        assert params is None
        shapes = jax.eval_shape(lambda key: usual(model, key, input_shape), rng)
        return jax.tree_util.tree_map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)

    return init_weights


def _workaround(transformers: Any, root: Path, name: str) -> Mapping[str, Any]:
    """Return PyTorch's logits of the whole, and TF's of the parts."""
    torch, tf = import_module("torch"), import_module("tensorflow")
    parts = root / "parts" / name
    first = transformers.EncoderDecoderModel.from_pretrained(root / "source" / name).eval()
    second = transformers.TFEncoderDecoderModel.from_encoder_decoder_pretrained(
        parts / "encoder", parts / "decoder", encoder_from_pt=True, decoder_from_pt=True
    )
    for side in SIDES:
        getattr(second, side).save_pretrained(root / "halves" / f"{name}-tf" / side)
    rng = np.random.default_rng(3)
    ids = {
        key: rng.integers(5, 50, (2, length))
        for key, length in (("input_ids", 9), ("decoder_input_ids", 7))
    }
    with torch.inference_mode():
        exact = first.double()(
            **{key: torch.from_numpy(array) for key, array in ids.items()}
        ).logits
        rounded = first.float()(
            **{key: torch.from_numpy(array) for key, array in ids.items()}
        ).logits
    logits = second(**{key: tf.constant(array) for key, array in ids.items()}).logits
    return {"exact": exact.numpy(), "pytorch": rounded.numpy(), "tf": logits.numpy()}


if __name__ == "__main__":
    _child(sys.argv[1], Path(sys.argv[2]))  # type: ignore[arg-type]
