"""What decides a network's answers beside its tensors: the code and the settings of its modules."""

from __future__ import annotations

import collections
import weakref
import zlib
from collections.abc import Callable
from typing import TypeGuard, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

_Module = TypeVar("_Module", bound=nn.Module)

_UNSEEN = {
    *vars(nn.Module()),
    "_compiled_call_impl",
    # of batch norms and of SlowFast
    *("momentum", "spec", "clip_spec", "provenance", "_labels"),
    *("_grad_checkpointing", "_frozen_up_to", "_norms_frozen"),
}
"""Attributes of modules that change no answer in eval mode, or are seen apart, as tensors are."""

_SHOWN_BY_TENSORS = {"in_channels", "out_channels", "in_features", "out_features", "inplace"}
"""Settings of layers that change no answer where tensors have the right shapes."""

_VALUES = (type(None), bool, int, float, str, torch.dtype)
_DEEPEST = 8
"""Lists and dicts within each other whose values are compared; what is deeper is compared as an object."""


def structure(network: nn.Module) -> tuple[object, ...]:
    """Each module's place, class, hooks and settings: what compares equal gives equal answers with equal
    tensors in eval mode, as far as Python tells. It takes some milliseconds."""
    return tuple(
        (name, type(module), *_hooks(module), *_settings(module))
        for name, module in network.named_modules(remove_duplicate=False)
    )


def is_foreign(network: nn.Module) -> bool:
    """Whether code takes part, be it a hook, that is neither torch's nor this library's, so that nobody knows
    what it does with a tensor or whether it is the same in another process."""
    return any(
        not type(module).__module__.startswith(("torch.nn.", "slowfast_zoo."))
        or bool(_hooks(module))
        or _has_object(_settings(module))
        for module in network.modules()
    )


def hooked(network: nn.Module) -> str | None:
    """The first module with a forward hook, which only torch calls; "" is the network itself. None: none."""
    return next((name for name, module in network.named_modules() if _hooks(module)), None)


def other_modules(network: nn.Module, plain: nn.Module) -> list[str]:
    """Names of a network's modules whose class or settings give, with equal tensors, other answers in eval
    mode than those of a plain network in their place. Hooks, and what is ``rewritten``, may do anything or
    nothing; they are left out."""
    return [name for name, wanted in plain.named_modules() if not _computes_as(_at(network, name), wanted)]


def rewritten(network: nn.Module, plain: nn.Module) -> str | None:
    """The first module with a ``forward`` of its own, be it its class's or put in its place, where a plain
    network has another; "" is the network itself. None: none."""
    for name, wanted in plain.named_modules():
        module, kind = _at(network, name), type(wanted)
        if module is None or isinstance(wanted, (nn.Dropout, _BatchNorm)):
            continue
        methods = [method for method in dir(kind) if "forward" in method]
        if any(
            method in vars(module) or getattr(type(module), method, None) is not getattr(kind, method)
            for method in methods
            if callable(getattr(kind, method))
        ):
            return str(name)
    return None


def is_plain(module: object, *kinds: type[_Module]) -> TypeGuard[_Module]:
    """Whether calling a module is what its class says and nothing else: no adapter, no hook.

    Args:
        module: what may have been wrapped, replaced or hooked.
        kinds: the classes that it may be of; a class that derives from one is another.
    """
    if not isinstance(module, nn.Module) or type(module) not in kinds or "forward" in vars(module):
        return False
    return not (_hooks(module) or module._backward_hooks or module._backward_pre_hooks)


def is_product(conv: nn.Conv3d) -> bool:
    """Whether a convolution is a product at each place that it sees, whatever its stride."""
    return conv.kernel_size == (1, 1, 1) and conv.padding == (0, 0, 0) and conv.groups == 1


def tensors_used(network: nn.Module) -> collections.Counter[int]:
    """How many places of a network hold each parameter, by its ``id``."""
    return collections.Counter(
        id(value)
        for _, module in network.named_modules(remove_duplicate=False)
        for value in module._parameters.values()
    )


def _at(network: nn.Module, name: str) -> nn.Module | None:
    module: nn.Module | None = network
    for part in filter(None, name.split(".")):
        module = module and module._modules.get(part)
        if module is not None:  # what torch wraps for activation checkpointing keeps the names of its tensors
            module = module._modules.get("_checkpoint_wrapped_module", module)
    return module


def _computes_as(module: nn.Module | None, wanted: nn.Module) -> bool:
    kind = type(wanted)
    if isinstance(wanted, nn.Dropout):
        return True
    if isinstance(module, _BatchNorm) and isinstance(wanted, _BatchNorm):  # of whatever kind
        return module.eps == wanted.eps
    if not isinstance(module, kind):
        return False
    if isinstance(wanted, nn.Sequential) and list(module._modules) != list(wanted._modules):
        return False
    own = dict(_settings(module))
    return all(
        name in own and own[name] == value
        for name, value in _settings(wanted)
        if name not in _SHOWN_BY_TENSORS and not name.startswith("_")
    )


class _Object:
    """Stands for a setting that is no plain value: equal is the same object and, of a tensor, an array or a
    set, the same content. What other objects hold isn't seen."""

    def __init__(self, value: object) -> None:
        self._value: Callable[[], object]
        try:
            self._value = weakref.ref(value)
        except TypeError:  # not every class can be
            self._value = lambda: value
        self._content = _content(value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Object) or self._content != other._content:
            return False
        return self._value() is not None and self._value() is other._value()

    __hash__ = None  # type: ignore[assignment]


def _content(value: object) -> object:
    if isinstance(value, (set, bytearray)):
        return frozenset(value) if isinstance(value, set) else bytes(value)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return zlib.crc32(value.tobytes())
    if not isinstance(value, Tensor):
        return None
    try:
        numbers = value.detach().cpu().contiguous().flatten()
        return zlib.crc32(numbers.view(torch.uint8).numpy().tobytes())
    except (RuntimeError, TypeError, NotImplementedError):  # of a kind that has no such bytes
        return None if value.is_inference() else value._version


def _hooks(module: nn.Module) -> tuple[int, ...]:
    return (*module._forward_pre_hooks, *module._forward_hooks)


def _settings(module: nn.Module) -> tuple[tuple[str, object], ...]:
    """The attributes that a module's class or its owner gave it, with their names. What an owner notes on a
    SlowFast, whose code reads none of it, is left out unless other code is there."""
    seen = {name: value for name, value in vars(module).items() if name not in _UNSEEN}
    if type(module).__module__ == "slowfast_zoo.network.slowfast" and not any(map(callable, seen.values())):
        return ()
    return tuple((name, value if type(value) in _VALUES else _frozen(value)) for name, value in seen.items())


def _frozen(value: object, deep: int = 0) -> object:
    if isinstance(value, _VALUES):
        return value
    if deep == _DEEPEST:  # a list may hold itself
        return _Object(value)
    if isinstance(value, (tuple, list)):
        return tuple(_frozen(each, deep + 1) for each in value)
    if isinstance(value, dict):
        return tuple((_frozen(key, deep + 1), _frozen(each, deep + 1)) for key, each in value.items())
    return _Object(value)


def _has_object(value: object) -> bool:
    return isinstance(value, _Object) or (isinstance(value, tuple) and any(map(_has_object, value)))
