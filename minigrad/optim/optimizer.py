"""What every optimiser shares: parameter groups, state, and the lists of arrays that one launch updates."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import numpy as np

from ..dependency import CountedDict, Dependency, Identity, frozen
from ..errors import DtypeError, GraphError, StateError, ValidationError
from ..ops.op import Dispatch
from ..runtime.memory import contiguous, convert, copy
from ..runtime.threads import call_on_host, local
from ..tape import enable_grad
from ..tensors import Tensor


class ParamBatch:
    """Parameters of one group that share device, dtype and history, as the lists that a kernel takes.

    params    tensors with a gradient
    states    their entries of the optimiser's state, dicts of name -> value
    numbers   (SIZE)   what the kernel reads of the group's settings and of the number of the step, set for each step
    """

    SIZE = 16

    def __init__(self, params: list[Tensor], states: list[dict[str, Any]]):
        self.params, self.states = params, states
        self.device, self.dtype = params[0].device, params[0].dtype
        self.numbers = np.zeros(self.SIZE, self.dtype)
        self.values = self.device.arrays([contiguous(p.array) for p in params])
        self.copied = [(p, mine) for p, mine in zip(params, self.values.arrays, strict=True) if mine is not p.array]
        self.lists: dict[str, Any] = {}

    def state(self, name: str) -> Any:
        """The state called `name` of every parameter; zeros where there is none yet."""
        if name not in self.lists:
            for p, state in zip(self.params, self.states, strict=True):
                if name not in state:
                    state[name] = Tensor(np.zeros(p.shape), dtype=p.dtype, device=p.device)
            self.lists[name] = self.device.arrays([state[name].array for state in self.states])
        return self.lists[name]

    def set(self, numbers: np.ndarray, settings: Callable[..., list[float]], group: dict[str, Any]) -> None:
        """Write the numbers of this step."""
        values = settings(dict(group), self.states)  # a plain dict is read faster than a ParamGroup
        numbers[: len(values)] = values

    def run(self, kernel: Dispatch, *lists: Any) -> None:
        """Run a kernel on the numbers, the parameters, their gradients and more lists, and count a change of every
        parameter."""
        gradients = [p.grad for p in self.params if p.grad is not None]
        grads = self.device.arrays([_as_kernels_take(grad.array, self.dtype) for grad in gradients])
        for p, mine in self.copied:
            copy(mine, p.array)
        if local.observer is not None:
            for p in self.params:
                local.observer.writes(p)
        kernel[self.device.type](self.numbers, self.values, grads, *lists)
        for p, mine in self.copied:
            copy(p.array, mine)
        for p in self.params:
            p._storage.version += 1


def _as_kernels_take(grad: Any, dtype: np.dtype) -> Any:
    return grad if grad.flags.c_contiguous and grad.dtype == dtype else convert(grad, dtype)


class ParamGroup(CountedDict, Dependency):
    """The parameters and settings of a group.  A recording depends on those that it reads; what is read by `numbers` is
    read again at each replay."""

    def __getitem__(self, name: str) -> Any:
        if local.observer is not None:
            local.observer.uses(_Setting(self, name))
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """dict.get."""
        return self[name] if name in self else default  # noqa: SIM401 - that would be get itself

    def __setitem__(self, name: str, value: Any) -> None:
        dict.__setitem__(self, name, value)  # its settings are always compared: most change at every step
        if local.observer is not None:
            local.observer.spoil(f"{name!r} of a parameter group")


class _Setting(Dependency):
    """An entry of a parameter group."""

    _replay_counted = False

    def __init__(self, group: ParamGroup, name: str):
        self.group, self.name = group, name
        self.params = list(dict.get(group, "params", ()))  # as long as they are kept, no other has their id

    @property
    def _replay_key(self) -> Any:
        return Identity(self.group), self.name

    def _replay_state(self) -> Any:
        value = dict.get(self.group, self.name)
        return tuple(map(id, value)) if self.name == "params" and value else frozen(value)

    def _replay_name(self, part: str) -> str:
        return f"{self.name!r} of a parameter group"


OWN = ("defaults", "state", "_groups", "_bundles", "_generation")  # attributes that every optimiser has


class Optimizer(Dependency):
    """The base of all optimisers.

    params     tensors; or dicts, each a group: "params" and the settings in which it differs
    defaults   the settings of a group that names none

    A subclass checks a group's settings in `check(group)`, makes of them what its kernel reads in
    `numbers(group, states)`, and updates parameters in `update(group, bundle)`.
    `param_groups` may be changed between steps, as schedulers do; `state` only by load_state_dict.

    Raises   ValidationError   no parameters, a parameter twice or in read-only memory, a setting out of its range
             DtypeError        not tensors, or not of floats
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

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], defaults: dict[str, Any]):
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self._groups: list[dict[str, Any]] = []
        self._generation = 0  # counts how often the bundles were forgotten
        self._bundles: dict[int, tuple[list[Any], list[ParamBatch]]] = {}
        if isinstance(params, Tensor):
            raise DtypeError(f"{self._name}: params is one Tensor; put it in a list")
        groups: list[Any] = list(params)
        if not groups:
            raise ValidationError(
                f"{self._name}: params has 0 tensors, expected 1 or more; a generator gives its "
                "tensors only once, so call model.parameters() again"
            )
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups: their "params", and their settings."""
        if local.observer is not None:
            local.observer.uses(self)
        return self._groups

    @param_groups.setter
    def param_groups(self, groups: Iterable[dict[str, Any]]) -> None:
        self._groups = [group if isinstance(group, ParamGroup) else ParamGroup(group) for group in groups]

    _replay_counted = False

    def _replay_state(self) -> Any:
        """The groups; of an optimiser that is not one of ours, all that it keeps in Python as well."""
        groups = tuple([id(group) if type(group) is ParamGroup else frozen(group) for group in self._groups])
        if type(self).__module__.startswith(__package__):
            return groups, self._generation
        kept = {name: value for name, value in vars(self).items() if name not in OWN}
        if type(self).step is not Optimizer.step:  # else `numbers` is asked again at each replay
            kept |= {"state": self.state, "groups": [dict(group) for group in self._groups]}
        return dict, (("", "the groups"), (groups, self._generation)), *frozen(kept)[1:]

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

    def _forget_bundles(self) -> None:
        """Make new bundles at the next step: groups or states have changed."""
        self._bundles = {}
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
        return {**self.__dict__, "_bundles": {}}  # lists of addresses mean nothing in a copy

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Train more parameters, with settings of their own.

        param_group   "params", a tensor or several, and settings; those left out are the optimiser's defaults

        Raises   as the optimiser itself, and leaves it as it was
        """
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise DtypeError(
                f"{self._name}: a parameter group is {type(param_group).__name__} without 'params'; "
                "give a dict like {'params': tensors, 'lr': 0.1}"
            )
        group = ParamGroup({**self.defaults, **param_group})
        group["params"] = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        self._check_params(group["params"])
        self.check(group)
        self.param_groups.append(group)
        self._forget_bundles()

    def _check_params(self, params: list[Any]) -> None:
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for i, p in enumerate(params):
            where = f"{self._name}: parameter {i} of group {len(self.param_groups)}"
            if not isinstance(p, Tensor):
                raise DtypeError(f"{where} is a {type(p).__name__}, expected a Tensor; give model.parameters()")
            if p.dtype.kind != "f":
                raise DtypeError(f"{where} is {p.dtype}, expected float32 or float64; convert it, or leave it out")
            if p.node is not None:
                raise GraphError(
                    f"{where} is the result of {p.node.op.name}, expected a leaf; "
                    "give the tensors it was made from, or .detach() it first"
                )
            if not p.array.flags.writeable:
                raise ValidationError(f"{where} is read-only memory, or one number seen many times; give its .clone()")
            if id(p) in known:
                raise ValidationError(f"{where} was given before, expected once; leave it out of one place")
            known.add(id(p))

    def check(self, group: dict[str, Any]) -> None:
        """Refuse settings out of their range."""

    def numbers(self, group: dict[str, Any], states: list[dict[str, Any]]) -> list[float]:
        """What the kernel reads in the step that begins."""
        raise NotImplementedError(f"{self._name}: define numbers(group, states) and update(group, bundle), or step()")

    def update(self, group: dict[str, Any], bundle: ParamBatch) -> None:
        """Change the parameters of a bundle by one step."""
        raise NotImplementedError(f"{self._name}: define numbers(group, states) and update(group, bundle), or step()")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters; backward adds to what is there.

        set_to_none   True: `.grad` becomes None; False: zeros in the same memory
        """
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None if set_to_none or p.grad is None else p.grad.detach().zero_()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change every parameter that has a gradient, in place, by one step of descent.

        closure   computes the loss with its gradients again, for scripts that are written so
        returns   what the closure returns, or None
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for number, group in enumerate(self.param_groups):
            for bundle in self._bundled(number):
                call_on_host(bundle.set, bundle.numbers, self.numbers, group)
                self.update(group, bundle)
        return loss

    def _bundled(self, number: int) -> list[ParamBatch]:
        """The bundles of a group, kept from step to step while parameters stay in place and keep having gradients."""
        live = [p for p in self.param_groups[number]["params"] if p.grad is not None]
        places = [(id(p), id(p.array), p.device) for p in live]
        if number not in self._bundles or self._bundles[number][0] != places:
            self._bundles[number] = places, self._bundle(live)
        return self._bundles[number][1]

    def _bundle(self, live: list[Tensor]) -> list[ParamBatch]:
        alike = defaultdict(list)
        for p in live:
            alike[p.device, p.dtype, tuple(self.state[p]), self.state[p].get("step")].append(p)
        return [ParamBatch(params, [self.state[p] for p in params]) for params in alike.values()]

    # ---- saving and resuming

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to resume: {"state": {number: {...}}, "param_groups": [...]}, parameters as numbers.

        The tensors share memory with the optimiser; save the dict, or copy.deepcopy it, before the next step.
        """
        params = [p for group in self.param_groups for p in group["params"]]
        numbers = {id(p): number for number, p in enumerate(params)}
        return {
            "state": {number: dict(self.state[p]) for number, p in enumerate(params) if self.state.get(p)},
            "param_groups": [
                {**group, "params": [numbers[id(p)] for p in group["params"]]} for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state_dict, of this class or of PyTorch's, with as many groups and parameters; copies it.

        Raises   StateError        another number of groups or parameters, or a state of another shape
                 ValidationError   a setting out of its range
        """
        saved = state_dict["param_groups"]
        params = self._matched(saved)
        state = {}
        for number, entry in state_dict["state"].items():
            if number not in params:
                raise StateError(
                    f"{self._name}: the state dict has a state of parameter {number}, and {len(params)} "
                    "parameters in its groups; save it again"
                )
            state[params[number]] = self._copied(number, params[number], entry)
        for group, new in zip(self.param_groups, saved, strict=True):
            group.update({**new, "params": group["params"]})
        self.state = defaultdict(dict, state)
        self._forget_bundles()

    def _matched(self, saved: list[dict[str, Any]]) -> dict[int, Tensor]:
        """The parameter that each number in the saved groups stands for."""
        if len(saved) != len(self.param_groups):
            raise StateError(
                f"{self._name}: the state dict has {len(saved)} parameter groups, the optimiser "
                f"{len(self.param_groups)}; build it with the groups it was saved with"
            )
        params: dict[int, Tensor] = {}
        for number, (group, new) in enumerate(zip(self.param_groups, saved, strict=True)):
            if len(new["params"]) != len(group["params"]):
                raise StateError(
                    f"{self._name}: group {number} of the state dict has {len(new['params'])} parameters, "
                    f"the optimiser's {len(group['params'])}; build it for the model it was saved with"
                )
            self.check({**group, **new})
            params.update(zip(new["params"], group["params"], strict=True))
        return params

    def _copied(self, number: int, p: Tensor, entry: dict[str, Any]) -> dict[str, Any]:
        """A parameter's saved state in memory of its own; `step` as a whole number, where PyTorch keeps a tensor."""
        copy: dict[str, Any] = {}
        for name, value in entry.items():
            if name == "step":
                copy[name] = int(value)
            elif isinstance(value, Tensor):
                if value.shape != p.shape:
                    raise StateError(
                        f"{self._name}: {name} of parameter {number} has shape {value.shape}, the "
                        f"parameter {p.shape}; build the optimiser for the model it was saved with"
                    )
                copy[name] = Tensor(contiguous(value.detach().cpu().numpy()), dtype=p.dtype, device=p.device)
            elif value is not None:
                copy[name] = value
        return copy


def at_least_zero(where: str, group: dict[str, Any], *names: str) -> None:
    """Refuse settings below 0, and nan.

    Raises   ValidationError   naming the setting
    Example
    >>> at_least_zero("SGD", {"lr": 0.1}, "lr")
    """
    for name in names:
        if not group[name] >= 0:
            raise ValidationError(f"{where}: {name} is {group[name]}; use a number from 0 upwards")
