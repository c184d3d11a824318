"""What an exercise is: a reference, inputs to try, and the mistakes that people make."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.checks.mistakes import Mistake
from course_utils.checks.sources import sources


@dataclass(frozen=True)
class Case:
    """One call to try.

    Attributes:
        args, kwargs: of the call; tensors are copied before every call.
        label: the case in a few words for messages: "two pictures of 3 x 4 x 4". Empty for what the
            shapes say anyway.
    """

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True)
class ModuleCase(Case):
    """One module to build, to fill with random weights, and to call with `args`.

    Attributes:
        init: keyword arguments of the constructor.
        seed: of the weights; every parameter is random, also those that start at zero.
    """

    init: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


class StateMismatch(Exception):
    """A learner's module has other parameters than the reference."""


@dataclass(frozen=True, eq=False)
class Exercise:
    """One blank in a lesson.

    Attributes:
        id: lesson and name, "01.add_noise".
        reference: the course's own function or class; what the lesson goes on with while the blank
            is open. Written to be read: `solution` shows its source.
        cases: makes inputs, the smallest first, from a generator. At least two shapes.
        hints: three, of growing strength.
        difficulty: 1 to 5.
        minutes: for a learner.
        mistakes: tried in this order when something is wrong.
        call: how a candidate is run on a case; `call_module` for classes.
        on_error: turns an exception of the learner's code into a sentence, or None.
        gradients: names of arguments (or "parameters" of a module) through which gradients must
            flow as they do in the reference.
        keeps_dtype: the result has the reference's dtype, float64 for float64 included.
        keeps_device: the function works on tensors of another device; one that does not is right
            with a remark. Tried on a GPU where there is one, otherwise on torch's meta device;
            leave it off where code must read values.
        rtol, atol: the tolerance, relative to the largest expected value and absolute.
        seconds: the most that all calls together may take.
        extra: further properties: takes the candidate, returns what is wrong, or None.
        remark: takes a right answer, returns why the page can't go on with it, or None.
        page: makes a call of the size that the page makes later, from a generator.
        page_seconds: an answer that takes longer for it is right, and the page goes on without it.
        is_value: the learner writes a value and not code; `extra` looks at it.
        is_open: of a value: says whether it is still empty.
    """

    id: str
    reference: Any
    cases: Callable[[torch.Generator], Iterable[Case]]
    hints: tuple[str, str, str]
    difficulty: int
    minutes: int
    mistakes: tuple[Mistake, ...] = ()
    call: Callable[[Any, Case], Any] | None = None
    on_error: Callable[[Exception, Case], str | None] | None = None
    gradients: tuple[str, ...] = ()
    keeps_dtype: bool = False
    keeps_device: bool = False
    rtol: float = 1e-4
    atol: float = 1e-5
    seconds: float = 10.0
    extra: Callable[[Any], str | None] | None = None
    remark: Callable[[Any], str | None] | None = None
    page: Callable[[torch.Generator], Case] | None = None
    page_seconds: float = 0.5
    is_value: bool = False
    is_open: Callable[[Any], bool] = lambda value: not value

    @property
    def lesson(self) -> str:
        """The number of its lesson, "01"."""
        return self.id.split(".")[0]

    @property
    def name(self) -> str:
        """Its name, "add_noise"."""
        return self.id.split(".", 1)[1]

    def run(self, candidate: Any, case: Case) -> Any:
        """Call a candidate on a case, as it stands (arguments are not copied here)."""
        if isinstance(case, ModuleCase):
            return (self.call or call_module)(candidate, _with_state(self.reference, case))
        if self.call is not None:
            return self.call(candidate, case)
        return candidate(*case.args, **case.kwargs)

    @property
    def fingerprint(self) -> str:
        """Changes when what is right does: a hash of everything that an answer is judged by.

        That is the sources of the reference, the cases and the further checks, and of whatever of
        `course_utils.checks` they use; not of hints, mistakes and words.
        """
        judges = (self.reference, self.cases, self.call, self.extra, self.is_open)
        rules = (self.gradients, self.keeps_dtype, self.keeps_device, self.rtol, self.atol)
        parts = [self.id, repr(rules), *sources(judges)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def call_seeded(candidate: Any, case: Case) -> Any:
    """Call with a fixed random state, so that noise of one's own is recognised as such."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return candidate(*case.args, **case.kwargs)


# --- modules -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Filled(ModuleCase):
    """A module case with the weights to load."""

    state: Mapping[str, Tensor] = field(default_factory=dict)


def random_state(module: nn.Module, seed: int) -> dict[str, Tensor]:
    """Random weights for a module's parameters and buffers, none of them zero or one throughout."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in module.state_dict().items():
        if not value.is_floating_point():
            state[name] = value.clone()
            continue
        fan_in = value[0].numel() if value.ndim > 1 else 1
        noise = torch.randn(value.shape, generator=generator, dtype=torch.float32)
        # Weights keep the variance of what passes through; scales stay near 1, shifts near 0.
        centre = 1.0 if value.ndim == 1 and name.endswith("weight") else 0.0
        width = fan_in**-0.5 if value.ndim > 1 else 0.3
        state[name] = (centre + width * noise).to(value.dtype)
    return state


def _with_state(reference: Any, case: ModuleCase) -> _Filled:
    if isinstance(case, _Filled):
        return case
    state = random_state(reference(**case.init), case.seed)
    return _Filled(case.args, case.kwargs, case.label, case.init, case.seed, state)


def build_module(candidate: Any, case: Case) -> nn.Module:
    """Build a candidate's module and load the case's weights into it.

    Raises:
        StateMismatch: the module's parameters have other names or shapes than the reference's.
    """
    assert isinstance(case, _Filled)
    module = candidate(**case.init)
    if not isinstance(module, nn.Module):
        raise StateMismatch(
            f"the class makes {type(module).__name__}; expected an nn.Module, as in "
            "`class Block(nn.Module)`"
        )
    own = module.state_dict()
    missing = [name for name in case.state if name not in own]
    unexpected = [name for name in own if name not in case.state]
    if missing or unexpected:
        text = []
        if missing:
            text.append(f"it lacks {_listed(missing)}")
        if unexpected:
            text.append(f"it has {_listed(unexpected)}, which the docstring does not name")
        raise StateMismatch("the parameters have other names: " + "; ".join(text))
    for name, value in case.state.items():
        if own[name].shape != value.shape:
            raise StateMismatch(
                f"the parameter {name} has shape {tuple(own[name].shape)}; expected "
                f"{tuple(value.shape)}"
            )
    module.load_state_dict(dict(case.state))
    return module.eval()


def call_module(candidate: Any, case: Case) -> Any:
    """Build a module with the case's weights and run it forward."""
    return build_module(candidate, case)(*case.args, **case.kwargs)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
