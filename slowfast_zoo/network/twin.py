"""A model as its readers call it: in eval mode, where they want it, and the model itself untouched."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from types import CellType, FunctionType, MethodType
from typing import Any, TypeVar

import torch
from torch import nn

from slowfast_zoo.errors import InputError

_Module = TypeVar("_Module", bound=nn.Module)

_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_TORCHS = frozenset(vars(nn.Module())) - {*_HOOKS}
"""Attributes that every module has, and in which no module is looked for."""
_LEAVES = frozenset((nn.Conv3d, nn.BatchNorm3d, nn.ReLU, nn.MaxPool3d, nn.Linear, nn.Dropout, nn.Identity))
"""Layers whose attributes are settings alone."""
_PLAIN = frozenset((type(None), bool, int, float, str))
_DEEPEST, _LONGEST = 8, 1000
"""Lists and dicts within each other, and entries of one, in which modules are looked for."""


def eval_twin(model: _Module, device: torch.device | None = None) -> _Module:
    """A model in eval mode that computes with the given one's own parameters and buffers.

    Nothing is written to the model, so that any number of callers can read it at once, and its mode, which
    its owner may change meanwhile, reaches no twin. Weights that learn in place reach every twin. So do a
    ``forward`` that was put in its place, hooks, and modules in lists: as the twin's own. It costs about a
    millisecond per hundred modules.

    Args:
        model: what to read.
        device: where to compute; what isn't there is copied there. None: where it is.

    Raises:
        InputError: a module's ``forward`` was replaced by a function that finds modules among its globals,
            and these are in train mode or elsewhere.
    """
    return _Twins(device).of(model)  # type: ignore[return-value]


class _Twins:
    """The twins of one model's modules."""

    def __init__(self, device: torch.device | None) -> None:
        self._device = device
        self._made: dict[int, nn.Module] = {}
        self._originals: list[nn.Module] = []
        self._seen: dict[int, Any] = {}
        """Lists, dicts and functions, by their ids, as the twins have them."""

    def of(self, model: nn.Module) -> nn.Module:
        """The twin of a model."""
        twin = self._twin(model)
        for original in self._originals:  # grows meanwhile
            if type(original) in _LEAVES and "forward" not in vars(original) and not any(_hooks_of(original)):
                continue
            attributes = self._made[id(original)].__dict__
            for name, value in [*vars(original).items()]:
                if name in _TORCHS or _is_plain(value):
                    continue
                attributes[name] = self._rebound(value)
                if name == "forward":
                    self._check(model, original, value)
        return twin

    def _twin(self, module: nn.Module) -> nn.Module:
        if id(module) in self._made:  # a module may have two parents
            return self._made[id(module)]
        twin = self._made[id(module)] = type(module).__new__(type(module))
        if not isinstance(module, torch.jit.ScriptModule):
            self._originals.append(module)
        device = self._device
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
                name: None if child is None else self._twin(child) for name, child in module._modules.items()
            },
        }
        return twin

    def _rebound(self, value: Any, depth: int = 0) -> Any:
        """What a module's attribute is in its twin: twins for the modules in it, and their methods for those
        of modules; itself where it holds none."""
        if _is_plain(value):
            return value
        if isinstance(value, nn.Module):
            return self._twin(value)
        if id(value) in self._seen:
            return self._seen[id(value)]
        if isinstance(value, MethodType):
            owner = value.__self__
            return MethodType(value.__func__, self._twin(owner)) if isinstance(owner, nn.Module) else value
        if depth > _DEEPEST:
            return value
        self._seen[id(value)] = value  # for what holds itself
        if isinstance(value, FunctionType):
            rebound = self._function(value, depth)
        elif isinstance(value, functools.partial):
            parts = [self._rebound(part, depth + 1) for part in (value.func, *value.args)]
            keywords = {name: self._rebound(each, depth + 1) for name, each in value.keywords.items()}
            rebound = functools.partial(parts[0], *parts[1:], **keywords)
        elif isinstance(value, (list, tuple, dict)) and len(value) <= _LONGEST:
            rebound = self._container(value, depth)
        else:
            rebound = value
        self._seen[id(value)] = rebound
        return rebound

    def _function(self, function: FunctionType, depth: int) -> Any:
        """A function with the modules that it closes over, as ``lambda x: forward(x)`` does."""
        compiled = vars(function).get("_torchdynamo_orig_callable")
        if compiled is not None:  # by torch.compile, which keeps the original's mode and place
            stays = self._may_stay(getattr(compiled, "__self__", None))
            return function if stays else self._rebound(compiled, depth + 1)
        before = [_content(cell) for cell in function.__closure__ or ()]
        cells = [self._rebound(each, depth + 1) for each in before]
        defaults = self._rebound(function.__defaults__, depth + 1)
        same = all(new is old for new, old in zip(cells, before, strict=True))
        if same and defaults is function.__defaults__:
            return function
        closure = tuple(CellType() if cell is _EMPTY else CellType(cell) for cell in cells)
        code, names = function.__code__, function.__globals__
        rebound = FunctionType(code, names, function.__name__, defaults, closure)
        rebound.__kwdefaults__ = function.__kwdefaults__
        return rebound

    def _container(self, value: Any, depth: int) -> Any:
        inner = list(value.values() if isinstance(value, dict) else value)
        found = [self._rebound(each, depth + 1) for each in inner]
        if all(new is old for new, old in zip(found, inner, strict=True)):
            return value
        if isinstance(value, tuple):
            kind: Any = type(value)
            return kind(*found) if hasattr(value, "_fields") else kind(found)
        rebound: Any = copy.copy(value)
        for place, new in zip(value if isinstance(value, dict) else range(len(value)), found, strict=True):
            rebound[place] = new
        return rebound

    def _may_stay(self, module: object) -> bool:
        """Whether calling a module itself is what its twin would do."""
        if not isinstance(module, nn.Module):
            return False
        if any(each.training for each in module.modules()):
            return False
        if self._device is None:
            return True
        there = torch.empty(0, device=self._device).device  # with its number
        return all(value.device == there for value in (*module.parameters(), *module.buffers()))

    def _check(self, model: nn.Module, module: nn.Module, forward: object) -> None:
        """Refuses a ``forward`` that calls modules themselves, where that isn't what their twins would do.

        Raises:
            InputError: says which module's, and what to do.
        """
        if all(map(self._may_stay, _globals_of(forward))):
            return
        name = next((name for name, each in model.named_modules() if each is module), "")
        raise InputError(
            f"The model has{f' at {name!r}' if name else ''} a forward, put in its place, that calls it by a"
            " global name, so that nobody can read it apart: call model.eval() and move it to the device, or"
            " derive a class with that forward."
        )


_EMPTY = object()


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


def _globals_of(function: object, depth: int = 0) -> Iterator[nn.Module]:
    """The modules that a function finds among its globals, or whose methods it does."""
    if not isinstance(function, FunctionType) or depth > _DEEPEST:
        return
    for name in function.__code__.co_names:
        value = function.__globals__.get(name)
        owner = value.__self__ if isinstance(value, MethodType) else value
        if isinstance(owner, nn.Module):
            yield owner
    for cell in function.__closure__ or ():
        yield from _globals_of(_content(cell), depth + 1)


def _hooks_of(module: nn.Module) -> tuple[object, ...]:
    return tuple(vars(module)[name] for name in _HOOKS)


def _is_plain(value: object) -> bool:
    """Whether it is a setting as most are, at a glance."""
    return type(value) in _PLAIN or (type(value) is tuple and all(type(each) in _PLAIN for each in value))


def _parameter_on(value: nn.Parameter, device: torch.device | None) -> nn.Parameter:
    moved = value if device is None else value.detach().to(device)
    if device is None or moved.device == value.device:
        return value
    return nn.Parameter(moved, requires_grad=value.requires_grad)
