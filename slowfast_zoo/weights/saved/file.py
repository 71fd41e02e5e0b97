"""A saved model as one safetensors file: the tensors in our names, and the config in the header.

A training's ``best.safetensors``, the weights of a saved folder and the converted copies of publishers' files
are such files: one writer, one reader.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from slowfast_zoo.errors import CheckpointError, InputError, quoted
from slowfast_zoo.files import written_whole
from slowfast_zoo.network.provenance import with_fresh_classifier
from slowfast_zoo.network.slowfast import SlowFast, as_labels, check_labels
from slowfast_zoo.weights.checkpoint.loading import adapt_state, build_state, read_canonical
from slowfast_zoo.weights.checkpoint.reading import Checkpoint, read_checkpoint
from slowfast_zoo.weights.saved.config import HEADER, SavedConfig, checksum, config_in

_LOGGER = logging.getLogger(__name__)

_CONVERSION = 2  # counted up when a conversion gives other names or numbers: old copies are then not read


@dataclasses.dataclass(frozen=True)
class LocalWeights:
    """Weights that were read and checked, and everything that is known about them."""

    path: Path
    """Where they were."""
    state: dict[str, Tensor]
    """The state dict of ``SlowFast(config.model_spec)``."""
    config: SavedConfig
    """Their network, input, class names and origin."""
    published: bool = False
    """Whether they are a publisher's, so that other names or numbers mean other classes."""

    @staticmethod
    def read(checkpoint: Checkpoint, config: SavedConfig) -> LocalWeights:
        """What was saved with that config.

        Raises:
            CheckpointError: the tensors don't fit, or aren't those that the config was written with.
        """
        try:
            state = read_canonical(checkpoint, config.model_spec)
        except CheckpointError as error:
            names = [*error.missing, *error.unexpected, *(name for name, _, _ in error.mismatched)]
            if not names:
                raise
            raise error.saying(
                f"'{checkpoint.path}' doesn't hold the network that its config describes:"
                f" {len(error.missing)} tensors are missing, {len(error.unexpected)} left over,"
                f" {len(error.mismatched)} of another shape"
                f" ({quoted(names[:3])}{', ...' if len(names) > 3 else ''})."
            ) from error
        config.check_tensors(state, checkpoint.path)
        return LocalWeights(checkpoint.path, state, config)

    def build(
        self,
        *,
        num_classes: int | None = None,
        labels: Sequence[str] | None = None,
        in_channels: int | None = None,
        dropout: float | None = None,
    ) -> SlowFast:
        """The model in eval mode, once; arguments as in ``create_model``, None: as the weights have it.

        Raises:
            CheckpointError: stems that can't be adapted.
            InputError: labels that don't fit the classes, or are theirs in another order or spelling.
        """
        config = self.config
        classes, names, fresh = self._classes(num_classes, labels)
        spec = config.model_spec.replace(
            num_classes=classes,
            in_channels=in_channels or config.model_spec.in_channels,
            dropout=config.model_spec.dropout if dropout is None else dropout,
        )
        model = build_state(adapt_state(dict(self.state), config.model_spec, spec, self.path), spec)
        adapted = spec.in_channels != config.model_spec.in_channels
        model.clip_spec = config.clip_spec
        model.provenance = with_fresh_classifier(config.provenance) if adapted else dict(config.provenance)
        if fresh:
            model.reset_classifier(classes)
        model.labels = names
        return model

    def _classes(
        self, num_classes: int | None, labels: Sequence[str] | None
    ) -> tuple[int, tuple[str, ...] | None, bool]:
        """Rows of the classifier, their names, and whether it is a fresh one."""
        classes, names = self.config.model_spec.num_classes, self.config.labels
        given = as_labels(labels)
        if given is None and num_classes is None:
            return classes, names, False
        count = num_classes if num_classes is not None else len(given or ())
        given = check_labels(given, count)
        if given and names and given != names and _alike(given) == _alike(names):
            raise InputError(
                f"labels are the class names of '{self.path}' in another order or spelling, which would mean"
                " a fresh classifier: leave them out, or pass them as the file has them; model.labels = names"
                " renames its classes in their order, and model.reset_classifier(number, labels) makes a"
                " fresh one."
            )
        if self.published:
            return count, given, given is None or given != names
        if num_classes is None and count != classes:
            raise InputError(
                f"labels has {count} names, '{self.path}' has {classes} classes; give one per"
                f" class, or num_classes={count} as well for a fresh classifier."
            )
        kept = count == classes and (given is None or names is None or given == names)
        return count, (given or names) if kept else given, not kept


def _alike(names: Sequence[str]) -> list[str]:
    """What names have in common that differ only in their order, in case, in spaces, dashes or Unicode's
    forms."""
    plain = (re.sub(r"[\s_-]+", "", unicodedata.normalize("NFC", name)) for name in names)
    return sorted(name.casefold() for name in plain)


def fill(path: Path, tensors: Mapping[str, Tensor], config: SavedConfig) -> SavedConfig:
    """Writes a file's content as it comes; the config that it holds, with the checksum, comes back.

    Raises:
        OSError: no room, no permission.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain: dict[str, Tensor] = {}
    places = set[int]()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        plain[name] = own.clone() if place in places else own
        places.add(place)
    config = dataclasses.replace(config, checksum=checksum(plain))
    try:
        save_file(plain, path, {HEADER: config.to_json()})  # a second entry would come in any order
    except SafetensorError as error:  # it makes this of a full disk
        raise OSError(str(error)) from error
    return config


def open_saved(path: Path) -> LocalWeights:
    """A saved file, read.

    Raises:
        CheckpointError: it isn't one, or is damaged.
    """
    checkpoint = read_checkpoint(path)
    config = config_in(checkpoint)
    if config is None:
        raise CheckpointError(
            f"'{path}' doesn't say which network it holds, so this library didn't write it. A publisher's"
            " file, or a state dict, is loaded with create_model(name, weights=Path(file))."
        )
    return LocalWeights.read(checkpoint, config)


def read_file(path: str | Path) -> SlowFast:
    """The model in a saved file, as float32, in eval mode.

    Raises:
        CheckpointError: it isn't one, or is damaged.
    """
    return open_saved(Path(path)).build()


def converted(path: Path, config: SavedConfig, *, sha256: str, dialect: str | None) -> LocalWeights:
    """A publisher's file in our names; kept in ``converted`` beside it, so that a second start is fast.

    Processes that convert at the same time write the same bytes. A copy that is damaged is made again; where
    none can be written, a warning says so.

    Args:
        path: the publisher's file, verified.
        config: what is known about it; its network is the one in the file, classes and channels included.
        sha256: hex digits of the file's hash; the copy is named after it.
        dialect: whose names it uses; None: told from the names.

    Raises:
        CheckpointError: the file can't be read safely or doesn't fit.
    """
    copy = path.parent / "converted" / f"{path.stem}-{sha256[:16]}-v{_CONVERSION}.safetensors"
    if copy.is_file() and not copy.is_symlink():
        with contextlib.suppress(CheckpointError):
            kept = open_saved(copy)
            if kept.config.model_spec == config.model_spec:
                return dataclasses.replace(kept, config=config, published=True)
    state = read_canonical(read_checkpoint(path, dialect=dialect), config.model_spec)
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(copy, keep_links=False) as temporary:
            fill(temporary, state, config)
    except OSError as error:
        _LOGGER.warning("No converted copy of %s is kept, so that loading stays slow: %s", path, error)
    return LocalWeights(path, state, config, published=True)
