"""The base of all optimisers: parameter groups, their state, and the batches of parameters that one kernel updates."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np

from ..checks import number_in_range, type_with_article
from ..dependency import CountedDict, Dependency, Identity, snapshot
from ..errors import DtypeError, GraphError, StateError, ValidationError
from ..ops.op import Dispatch
from ..runtime.memory import contiguous, convert, copy
from ..runtime.threads import IDLE, call_on_host, local
from ..tape import enable_grad
from ..tensors import Tensor

Params: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]]
Loss = TypeVar("Loss")


class ParamBatch:
    """Parameters of one group with the same device, dtype and state names, as lists that a kernel takes.

    params    tensors with a gradient
    states    the optimiser's state of each parameter, dicts of name -> value
    numbers   (SIZE)   numbers that the kernel reads, computed for each step from the settings of the group
    """

    SIZE = 16

    def __init__(self, params: list[Tensor], states: list[dict[str, Any]]):
        self.params, self.states = params, states
        self.device, self.dtype = params[0].device, params[0].dtype
        self.numbers = np.zeros(self.SIZE, self.dtype)
        self.values = self.device.arrays([contiguous(p.array) for p in params])
        self.copies = [(p, array) for p, array in zip(params, self.values.arrays, strict=True) if array is not p.array]
        self.lists: dict[str, Any] = {}

    def state(self, name: str, initial: float = 0) -> Any:
        """Return the state called `name` of all parameters; where there is none it becomes filled with `initial`."""
        if name not in self.lists:
            for p, state in zip(self.params, self.states, strict=True):
                if name not in state:
                    state[name] = Tensor(np.full(p.shape, initial), dtype=p.dtype, device=p.device)
            self.lists[name] = self.device.arrays([state[name].array for state in self.states])
        return self.lists[name]

    def fill_numbers(self, numbers: np.ndarray, compute: Callable[..., list[float]], group: dict[str, Any]) -> None:
        values = compute(dict(group), self.states)  # a plain dict is read faster than a ParamGroup
        numbers[: len(values)] = values

    def run(self, kernel: Dispatch, *lists: Any) -> None:
        """Run a kernel on the numbers, the parameters, their gradients and further lists; count a write."""
        if local.observer is not IDLE:
            for p in self.params:
                local.observer.writes(p)
        gradients = [p._grad for p in self.params if p._grad is not None]
        grads = self.device.arrays([_kernel_array(grad.array, self.numbers.dtype) for grad in gradients])
        for p, array in self.copies:
            copy(array, p.array)
        kernel[self.device.type](self.numbers, self.values, grads, *lists)
        for p, array in self.copies:
            copy(p.array, array)
        for p in self.params:
            p._storage.version += 1


def _kernel_array(grad: Any, dtype: np.dtype) -> Any:
    return grad if grad.flags.c_contiguous and grad.dtype == dtype else convert(grad, dtype)


class ParamGroup(CountedDict, Dependency):
    """The parameters and settings of a group.

    A recording depends on the settings that it reads, except those that `numbers` reads again at each replay.
    """

    def __getitem__(self, name: str) -> Any:
        if local.observer is not IDLE:
            local.observer.uses(_Setting(self, name))
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """dict.get."""
        return self[name] if name in self else default  # noqa: SIM401 - dict.get calls this

    def __setitem__(self, name: str, value: Any) -> None:
        dict.__setitem__(self, name, value)  # settings are always compared, because they change often
        local.observer.spoil(f"{name!r} of a parameter group")


def is_nonzero(group: dict[str, Any], name: str) -> bool:
    """Whether a setting is not 0.  A recording depends on this alone: the number may change between its replays."""
    if local.observer is not IDLE and isinstance(group, ParamGroup):
        local.observer.uses(_Setting(group, name, bool))
    return bool(dict.__getitem__(group, name))


class _Setting(Dependency):
    """An entry of a parameter group, or what a function tells of it."""

    _replay_counted = False

    def __init__(self, group: ParamGroup, name: str, function: Callable[[Any], Any] = snapshot):
        self.group, self.name, self.function = group, name, function
        self.params = list(dict.get(group, "params", ()))  # kept alive so that their ids are not reused

    @property
    def _replay_key(self) -> Any:
        return Identity(self.group), self.name, self.function

    def _replay_state(self) -> Any:
        value = dict.get(self.group, self.name)
        return tuple(map(id, value)) if self.name == "params" and value else self.function(value)

    def _replay_name(self, part: str) -> str:
        return f"{self.name!r} of a parameter group"


PYTORCH_OPTIONS = ("foreach", "fused", "capturable", "differentiable")
BASE_ATTRIBUTES = ("defaults", "state", "_groups", "_batches", "_generation")  # attributes of class Optimizer


class Optimizer(Dependency):
    """The base of all optimisers.

    params         tensors; or dicts, each a parameter group: "params" and settings that differ from the defaults
    defaults       the settings of a group that does not give them
    weight_decay   0 or more; share of the parameter that is added to the gradient
    maximize       True: step along the gradient
    options        settings of PyTorch that change only how it computes: foreach, fused and capturable have no effect,
                   because one kernel updates all parameters, and differentiable=True is refused

    A subclass checks the settings of a group in `check(group)`, computes the numbers that its kernel reads in
    `numbers(group, states)`, and updates a batch of parameters in `update(group, batch)`; or it overrides step().
    `param_groups` may be changed between steps, as schedules do.  Change `state` only through load_state_dict.

    Raises   ValidationError   there are no parameters, a parameter appears twice or is read-only, or a setting is out
                               of its range
             DtypeError        the parameters are not float tensors
             GraphError        a parameter is the result of an operation
    Example
    >>> import minigrad as mg
    >>> class SignDescent(Optimizer):
    ...     def step(self):
    ...         for group in self.param_groups:
    ...             for p in group["params"]:
    ...                 p.data -= group["lr"] * (p.grad / abs(p.grad))
    >>> w = mg.tensor([3.0, -5.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> SignDescent([w], {"lr": 0.5}).step()
    >>> w.tolist()
    [2.5, -4.5]
    """

    _not_negative: tuple[str, ...] = ()  # settings of 0 or more

    def __init__(self, params: Params, defaults: dict[str, Any], **options: Any):
        self._check_options(options)
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self._groups: list[dict[str, Any]] = []
        self._generation = 0  # counts how often the batches were discarded
        self._batches: dict[int, tuple[list[Any], list[ParamBatch]]] = {}  # by the number of the group
        if isinstance(params, Tensor):
            raise DtypeError(f"{self._name}: params is one Tensor; put it in a list")
        groups: list[Any] = list(params)
        if not groups:
            raise ValidationError(
                f"{self._name}: params has 0 tensors, expected 1 or more; a generator yields its "
                "tensors only once, so call model.parameters() again"
            )
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The parameter groups: dicts of "params" and settings."""
        local.observer.uses(self)
        return self._groups

    @param_groups.setter
    def param_groups(self, groups: Iterable[dict[str, Any]]) -> None:
        self._groups = [group if isinstance(group, ParamGroup) else ParamGroup(group) for group in groups]

    _replay_counted = False

    def _replay_state(self) -> Any:
        """Return the groups; for an optimiser defined elsewhere, also all of its own attributes."""
        groups = tuple([id(group) if type(group) is ParamGroup else snapshot(group) for group in self._groups])
        if type(self).__module__.startswith(__package__) and type(self).step is Optimizer.step:
            return groups, self._generation
        attributes = {name: value for name, value in vars(self).items() if name not in BASE_ATTRIBUTES}
        if type(self).step is not Optimizer.step:  # Optimizer.step calls `numbers` again at each replay
            attributes |= {"state": self.state, "groups": [dict(group) for group in self._groups]}
        # a snapshot of a dict with one more entry
        return dict, (("", "the groups"), (groups, self._generation)), *snapshot(attributes)[1:]

    def _replay_save(self) -> Any:
        return deepcopy([dict(self.state[p]) for group in self._groups for p in group.get("params", ())])

    def _replay_restore(self, saved: Any) -> None:
        params = [p for group in self._groups for p in group.get("params", ())]
        for p, entry in zip(params, saved, strict=True):
            for name, value in entry.items():
                if isinstance(value, Tensor):
                    copy(self.state[p][name].array, value.array)
                else:
                    self.state[p][name] = value

    def _discard_batches(self) -> None:
        """Build new batches at the next step, because groups or states have changed."""
        self._batches = {}
        self._generation += 1

    @property
    def _name(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        lines = []
        for number, group in enumerate(self.param_groups):
            lines += [f"Parameter Group {number}", *[f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]]
        return "\n".join([f"{self._name} (", *lines, ")"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_batches": {}}  # they hold addresses, which are not valid in a copy

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own settings.

        param_group   "params", one tensor or several, and settings; missing settings take their defaults

        Raises   the errors of the constructor; the optimiser is then unchanged
        """
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise DtypeError(
                f"{self._name}: a parameter group is {type_with_article(param_group)} without 'params'; "
                "give a dict like {'params': tensors, 'lr': 0.1}"
            )
        group = ParamGroup({**self.defaults, **param_group})
        group["params"] = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        self._check_params(group["params"])
        self.check(group)
        self.param_groups.append(group)
        self._discard_batches()

    def _check_params(self, params: list[Any]) -> None:
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for i, p in enumerate(params):
            where = f"{self._name}: parameter {i} of group {len(self.param_groups)}"
            if not isinstance(p, Tensor):
                raise DtypeError(f"{where} is {type_with_article(p)}, expected a Tensor; give model.parameters()")
            if p.dtype.kind != "f":
                raise DtypeError(f"{where} is {p.dtype}, expected float32 or float64; convert it, or leave it out")
            if p.node is not None:
                raise GraphError(
                    f"{where} is the result of {p.node.op.name}, expected a leaf; "
                    "give the tensors it was computed from, or .detach() it first"
                )
            if not p.array.flags.writeable:
                raise ValidationError(f"{where} is read-only, or its elements share memory; give its .clone()")
            if id(p) in known:
                raise ValidationError(f"{where} appears twice; give each parameter once")
            known.add(id(p))

    def _check_options(self, options: dict[str, Any]) -> None:
        unknown = next((name for name in options if name not in PYTORCH_OPTIONS), None)
        if unknown is not None:
            known = [name for name in inspect.signature(type(self)).parameters if name not in ("params", "options")]
            raise TypeError(f"{self._name}: there is no setting {unknown!r}; use {', '.join(known)}")
        if options.get("differentiable"):
            raise ValidationError(
                f"{self._name}: differentiable=True, but a step changes its parameters in place; write the step with "
                "tensors, as w = w - lr * gradient"
            )

    def check(self, group: dict[str, Any]) -> None:
        """Check the settings of a group."""
        for name in self._not_negative:
            number_in_range(self._name, name, group[name], 0)

    def _count_step(self, states: list[dict[str, Any]]) -> int:
        """Add 1 to the "step" of all states, and return it."""
        step = states[0].get("step", 0) + 1
        for state in states:
            state["step"] = step
        return step

    def _first_numbers(self, group: dict[str, Any]) -> list[float]:
        """The numbers with which every formula starts: rate, weight decay, sign."""
        return [group["lr"], group["weight_decay"], -1.0 if group["maximize"] else 1.0]

    def numbers(self, group: dict[str, Any], states: list[dict[str, Any]]) -> list[float]:
        """Return the numbers that the kernel reads in the next step."""
        raise NotImplementedError(f"{self._name}: define numbers(group, states) and update(group, batch), or step()")

    def update(self, group: dict[str, Any], batch: ParamBatch) -> None:
        """Change a batch of parameters by one step."""
        raise NotImplementedError(f"{self._name}: define numbers(group, states) and update(group, batch), or step()")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients of all parameters, to which backward() would add.

        set_to_none   True: `.grad` becomes None; False: it is filled with zeros
        """
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None if set_to_none or p.grad is None else p.grad.detach().zero_()

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], Loss]) -> Loss: ...
    def step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        """Change every parameter that has a gradient, in place, by one step.

        closure   computes the gradients and returns the loss; called first
        returns   the result of the closure, or None
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for number, group in enumerate(self.param_groups):
            for batch in self._batches_of(number):
                call_on_host(batch.fill_numbers, batch.numbers, self.numbers, group)
                self.update(group, batch)
        return loss

    def _batches_of(self, number: int) -> list[ParamBatch]:
        """Return the batches of a group, built again when other parameters have gradients or a parameter has moved."""
        params = self.param_groups[number]["params"]
        if local.observer is not IDLE:
            for p in params:
                local.observer.read_grad(p)
        params = [p for p in params if p._grad is not None]
        memory = [x for p in params for x in (id(p), id(p.array), p.device)]
        if number not in self._batches or self._batches[number][0] != memory:
            alike = defaultdict(list)
            for p in params:
                alike[p.device, p.dtype, tuple(self.state[p]), self.state[p].get("step")].append(p)
            batches = [ParamBatch(batch, [self.state[p] for p in batch]) for batch in alike.values()]
            self._batches[number] = memory, batches
        return self._batches[number][1]

    # ---- saving and resuming

    def state_dict(self) -> dict[str, Any]:
        """Return {"state": {number: {...}}, "param_groups": [...]}, in which parameters are numbers.

        The tensors share memory with the optimiser.  Save the dict or copy.deepcopy it before the next step.
        """
        params = [p for group in self.param_groups for p in group["params"]]
        number = {id(p): i for i, p in enumerate(params)}
        state = {i: dict(self.state[p]) for i, p in enumerate(params) if self.state.get(p)}
        groups = [{**group, "params": [number[id(p)] for p in group["params"]]} for group in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Copy a state_dict of this class, or of PyTorch's, with the same number of groups and parameters.

        Raises   StateError        the number of groups or parameters or the shape of a state differs
                 ValidationError   a setting is out of its range
        """
        saved = state_dict["param_groups"]
        params = self._match_params(saved)
        state = {}
        for number, entry in state_dict["state"].items():
            if number not in params:
                raise StateError(
                    f"{self._name}: the state dict has a state of parameter {number}, but its groups have only "
                    f"{len(params)} parameters; save it again"
                )
            state[params[number]] = self._copy_state(number, params[number], entry)
        for group, new in zip(self.param_groups, saved, strict=True):
            group.update({**new, "params": group["params"]})
        self.state = defaultdict(dict, state)
        self._discard_batches()

    def _match_params(self, saved: list[dict[str, Any]]) -> dict[int, Tensor]:
        """Return the parameter of each number in the saved groups."""
        if len(saved) != len(self.param_groups):
            raise StateError(
                f"{self._name}: the state dict has {len(saved)} parameter groups, but the optimiser has "
                f"{len(self.param_groups)}; build it with the groups of the saved optimiser"
            )
        params: dict[int, Tensor] = {}
        for number, (group, new) in enumerate(zip(self.param_groups, saved, strict=True)):
            if len(new["params"]) != len(group["params"]):
                raise StateError(
                    f"{self._name}: group {number} has {len(new['params'])} parameters in the state dict, but "
                    f"{len(group['params'])} in the optimiser; build it for the model of the saved optimiser"
                )
            self.check({**group, **new})
            params.update(zip(new["params"], group["params"], strict=True))
        return params

    def _copy_state(self, number: int, p: Tensor, entry: dict[str, Any]) -> dict[str, Any]:
        """Return a copy of a parameter's saved state; `step` becomes an int, where PyTorch keeps a tensor."""
        copied: dict[str, Any] = {}
        for name, value in entry.items():
            if name == "step":
                copied[name] = int(value)
            elif isinstance(value, Tensor):
                if value.shape != p.shape:
                    raise StateError(
                        f"{self._name}: {name} of parameter {number} has shape {value.shape}, but the parameter has "
                        f"{p.shape}; build the optimiser for the model of the saved optimiser"
                    )
                copied[name] = Tensor(contiguous(value.detach().cpu().numpy()), dtype=p.dtype, device=p.device)
            elif value is not None:
                copied[name] = value
        return copied
