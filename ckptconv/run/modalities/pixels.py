"""Images: `pixel_values` of the size that the config names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ckptconv.base.errors import SourceError
from ckptconv.base.strict_json import Json
from ckptconv.run.modalities._media import Media, own_processor
from ckptconv.run.runners import Array, Batch
from ckptconv.run.token_ids import LEFT, ROWS
from ckptconv.schema.model import Model


class Pixels(Media):
    """Images, of which an encoder makes places by patches; all of them count."""

    name = "pixels"
    reads = "pixels"
    inputs: Mapping[str, str] = {"pixel_values": "float32"}
    item = "image"
    package, extra = "PIL", "images"

    def draw(self, model: Model, rng: np.random.Generator, probe: str) -> dict[str, Array]:
        """Return images of noise; in `left` the first is flat, and the second brighter from corner to corner."""
        channels, high, wide = _shape(model)
        pixels = rng.standard_normal((ROWS, channels, high, wide))
        if probe == LEFT:
            pixels[0] = pixels[0, :, :1, :1]
            pixels[1] = np.add.outer(np.linspace(-1, 1, high), np.linspace(-1, 1, wide))
        return {self.main: pixels.astype(np.float32)}

    def place_count(self, model: Model) -> int:
        """Return the number of patches: of the first layer, where there are fewer from one to the next."""
        _, high, wide = _shape(model)
        tall, broad = model.encoder.config.extent("patch_size")
        return (high // max(1, tall)) * (wide // max(1, broad))

    def place_facts(self, model: Model) -> dict[str, Json]:
        """Return how many places there are, and how an image becomes an array."""
        return {
            "places": self.place_count(model),
            "channels": model.encoder.config.size("num_channels"),
        }

    def array_problem(self, array: Array, model: Model) -> str:
        """Say what the shape must be."""
        shape = _shape(model)
        fits = array.ndim == 4 and array.shape[1:] == shape
        return "" if fits else "expected (rows, {}, {}, {})".format(*shape)

    def encoder_mask(
        self, batch: Batch, facts: Mapping[str, Any], places: int | None = None
    ) -> Array:
        """Return ones: every patch counts."""
        count = int(facts["places"]) if places is None else places
        return np.ones((len(batch[self.main]), count), np.int64)

    def processed(
        self, checkpoint: Path, paths: Sequence[Path], facts: Mapping[str, Any]
    ) -> dict[str, Array]:
        """Return the pixels of image files."""
        processor = own_processor(
            checkpoint, "AutoImageProcessor", "image processor", use_fast=False
        )
        images = [opened(path, facts.get("channels", 3)) for path in paths]
        pixels = processor(images=images, return_tensors="np")[self.main]
        return {self.main: np.asarray(pixels, np.float32)}


def opened(path: Path, channels: int) -> Any:
    """Return the image in a file, in colours unless a model reads one channel. Raises SourceError: it holds none."""
    image_module = import_module("PIL.Image")
    try:
        with image_module.open(path) as file:
            image = file.convert("L" if channels == 1 else "RGB")
    except (OSError, SyntaxError, ValueError, image_module.DecompressionBombError) as error:
        raise SourceError(f"{path}: not an image that Pillow can read ({error})") from None
    return np.asarray(image)[..., None] if channels == 1 else image


def _shape(model: Model) -> tuple[int, int, int]:
    """Return channels, height and width."""
    config = model.encoder.config
    return (config.size("num_channels"), *config.extent("image_size"))


MODALITY = Pixels()
