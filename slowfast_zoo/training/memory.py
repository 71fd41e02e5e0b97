"""``train_within_memory``: when memory runs out, the same steps in smaller pieces."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast_zoo.data.dataset import ClipDataset
from slowfast_zoo.errors import SlowFastZooError, TrainingError, counted
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.devices import is_out_of_memory
from slowfast_zoo.runtime.distributed import join
from slowfast_zoo.training.log import Listener
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.training.schedule import Plan
from slowfast_zoo.training.state import RESUME
from slowfast_zoo.training.train import TrainResult, train

_LOGGER = logging.getLogger(__name__)


def train_within_memory(
    model: SlowFast,
    dataset: ClipDataset,
    config: TrainConfig,
    *,
    work_dir: Path,
    validation: ClipDataset | None,
    resume: bool,
    sample_weights: Sequence[float] | None,
    device: str | torch.device | None,
    progress: bool,
    listener: Listener | None = None,
) -> tuple[TrainResult, list[str]]:
    """What ``train`` returns, and what had to be changed to get there, as sentences.

    Whenever memory doesn't suffice, half as many clips (or the next smaller divisor of a step) go through the
    network at a time and gradients are accumulated, so that a step still sees the same clips and the same
    learning rate; with frozen batch norms it is the same step, with learning ones their statistics are of
    fewer clips. At one clip activations are computed twice. Training goes on after the last checkpoint, or
    starts anew.

    Raises:
        TrainingError: one clip is too much, or several processes train; or as ``train``, whose arguments
            these are.
    """
    # The clips of a step must divide into pieces, whatever the size of the dataset.
    group = join(device)
    config = config.replace(batch_size=Plan.of(config, len(dataset), group.world).micro_batch)
    initial = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    notes: list[str] = []
    while True:
        try:
            result = train(
                model,
                dataset,
                config,
                work_dir=work_dir,
                validation=validation,
                resume=resume,
                sample_weights=sample_weights,
                device=device,
                progress=progress,
                listener=listener,
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if group.world > 1:  # the others are within the step, and can't be told
                raise TrainingError(
                    f"Memory doesn't suffice for {counted(config.batch_size, 'clip')} in one process"
                    f" ({reason}). Several processes don't halve them by themselves: take smaller steps"
                    " (--batch-size) or more processes."
                ) from error
        else:
            return result, notes
        # Behind the except block: the traceback kept what filled the memory.
        config = smaller_pieces(config, reason)
        model.zero_grad(set_to_none=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        resume = (work_dir / RESUME).exists()
        if not resume:
            model.load_state_dict(initial)
        again = ", activations computed twice" if config.activation_checkpointing else ""
        model.train()  # which frozen batch norms don't follow
        norms = any(isinstance(module, _BatchNorm) and module.training for module in model.modules())
        other = " Batch norms that learn see fewer clips at a time: the result is another." if norms else ""
        notes.append(
            f"Out of memory: went on with {counted(config.batch_size, 'clip')} at a time, {config.accumulate}"
            f" times per step{again}.{other}"
        )
        _LOGGER.warning("%s", notes[-1])


@contextlib.contextmanager
def smaller_steps_told(config: TrainConfig, folder: Path) -> Iterator[None]:
    """Makes one sentence of memory that doesn't suffice for a training: what makes its steps with less.

    Args:
        config: with the clips that go through the network at a time as ``batch_size``.
        folder: of the training.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, SlowFastZooError) or not is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0] or type(error).__name__
        less = smaller_pieces(config, reason)
        parts = f"accumulate={less.accumulate} (--set accumulate={less.accumulate})"
        way = f"batch_size={less.batch_size} and {parts} make the same steps"
        if less.batch_size == config.batch_size:
            way = "activation_checkpointing=True (--set activation_checkpointing=True) needs less"
        saved = (folder / RESUME).exists()
        again = "; --resume (resume=True) goes on from the last checkpoint" if saved else ""
        raise TrainingError(
            f"Memory doesn't suffice for {counted(config.batch_size, 'clip')} at a time ({reason}):"
            f" {way}{again}."
        ) from error


def smaller_pieces(config: TrainConfig, reason: str) -> TrainConfig:
    """The same step with less memory: fewer clips at a time, or activations computed again.

    Raises:
        TrainingError: there is nothing left to make smaller.
    """
    step = config.batch_size * config.accumulate
    divisors = [size for size in range(1, config.batch_size // 2 + 1) if step % size == 0]
    if divisors:
        return config.replace(batch_size=divisors[-1], accumulate=step // divisors[-1])
    if not config.activation_checkpointing:
        return config.replace(activation_checkpointing=True)
    raise TrainingError(
        f"Memory doesn't suffice for one clip ({reason}); choose a smaller model or a larger device."
    )
