"""A model as its readers call it: in eval mode, where they want it, and the model itself untouched."""

from __future__ import annotations

import functools
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import nn

from slowfast_zoo.errors import InputError

_Module = TypeVar("_Module", bound=nn.Module)

_TORCHS = frozenset(vars(nn.Module()))
"""Attributes that every module has."""
_PLAIN = frozenset((type(None), bool, int, float, str))
_DEEPEST = 8
"""Lists and dicts within each other in which modules are looked for."""


def eval_twin(model: _Module, device: torch.device | None = None) -> _Module:
    """A model in eval mode that computes with the given one's own parameters and buffers.

    Nothing is written to the model, so that any number of callers can read it at once, and its mode, which
    its owner may change meanwhile, reaches no twin. Weights that learn in place reach every twin. It costs
    about a millisecond per hundred modules.

    Args:
        model: what to read.
        device: where to compute; what isn't there is copied there. None: where it is.

    Raises:
        InputError: a module's ``forward`` was replaced by a function that may call the model itself, which is
            in train mode or elsewhere.
    """
    made: dict[int, nn.Module] = {}
    originals: list[nn.Module] = []
    twin = _twin(model, device, made, originals)
    for original in originals:  # grows meanwhile
        attributes = made[id(original)].__dict__
        for name, value in [*vars(original).items()]:
            if name in _TORCHS or _is_plain(value):
                continue
            attributes[name] = _rebound(value, device, made, originals)
            if "forward" in name and attributes[name] is value and callable(value):
                _check_readable(model, original, device)
    return twin  # type: ignore[return-value]


def _twin(
    module: nn.Module, device: torch.device | None, made: dict[int, nn.Module], originals: list[nn.Module]
) -> nn.Module:
    if id(module) in made:  # a module may have two parents
        return made[id(module)]
    twin = made[id(module)] = type(module).__new__(type(module))
    originals.append(module)
    twin.__dict__ = module.__dict__ | {
        "training": False,
        "_compiled_call_impl": None,  # what Module.compile() leaves there calls the original
        "_parameters": {
            name: None if value is None else _parameter_on(value, device)
            for name, value in module._parameters.items()
        },
        "_buffers": {
            name: value if value is None or device is None else value.to(device)
            for name, value in module._buffers.items()
        },
        "_modules": {
            name: None if child is None else _twin(child, device, made, originals)
            for name, child in module._modules.items()
        },
    }
    return twin


def _rebound(
    value: Any,
    device: torch.device | None,
    made: dict[int, nn.Module],
    originals: list[nn.Module],
    depth: int = 0,
) -> Any:
    """What a module's attribute is in its twin: twins for the modules in it, and their methods for those of
    modules; itself where it holds none."""
    again = functools.partial(_rebound, device=device, made=made, originals=originals, depth=depth + 1)
    if isinstance(value, nn.Module):
        return _twin(value, device, made, originals)
    if (plain := getattr(value, "_torchdynamo_orig_callable", None)) is not None:  # by torch.compile
        return again(plain)
    if isinstance(value, MethodType) and isinstance(value.__self__, nn.Module):
        return MethodType(value.__func__, again(value.__self__))
    if isinstance(value, functools.partial):
        keywords = {name: again(each) for name, each in value.keywords.items()}
        return functools.partial(again(value.func), *map(again, value.args), **keywords)
    if depth > _DEEPEST or type(value) not in (list, tuple, dict):
        return value
    inner = value.values() if isinstance(value, dict) else value
    found = [*map(again, inner)]
    if all(new is old for new, old in zip(found, inner, strict=True)):
        return value
    return dict(zip(value, found, strict=True)) if isinstance(value, dict) else type(value)(found)


def _is_plain(value: object) -> bool:
    """Whether it is a setting as most are, at a glance."""
    return type(value) in _PLAIN or (type(value) is tuple and all(type(each) in _PLAIN for each in value))


def _check_readable(model: nn.Module, module: nn.Module, device: torch.device | None) -> None:
    """Refuses a forward that calls the model itself, where that isn't what its twin would do.

    Raises:
        InputError: says which module's, and what to do.
    """
    there = None if device is None else torch.empty(0, device=device).device  # with its number
    values = [*module.parameters(), *module.buffers()]
    elsewhere = there is not None and any(value.device != there for value in values)
    if not (elsewhere or any(each.training for each in module.modules())):
        return
    name = next((name for name, each in model.named_modules() if each is module), "")
    way = "move it to the device first" if elsewhere else "call its eval() first"
    raise InputError(
        f"The model has{f' at {name!r}' if name else ''} a forward that was put in its place and can't be"
        f" called apart from the model: {way}, or derive a class with that forward."
    )


def _parameter_on(value: nn.Parameter, device: torch.device | None) -> nn.Parameter:
    moved = value if device is None else value.detach().to(device)
    if device is None or moved.device == value.device:
        return value
    return nn.Parameter(moved, requires_grad=value.requires_grad)
