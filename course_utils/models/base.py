"""What every model of the course shares: a configuration that is saved as JSON, and safe weights.

The files are those of diffusers and transformers, so each library opens the other's folder:
`config.json` holds the configuration fields, one `.safetensors` file holds the parameters.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Self, get_args, get_type_hints

import torch
from torch import Tensor, nn

from course_utils.files import write_atomically
from course_utils.models.weight_files import WeightsError, read_json, read_weights


class Model(nn.Module):
    """A module whose constructor arguments are its configuration.

    A subclass names a frozen dataclass `Config`. `FIXED` lists fields of the reference library
    that this course does not build, with the one value that means "not used".
    """

    Config: ClassVar[type]
    FIXED: ClassVar[Mapping[str, Any]] = {}
    CLASS_NAME: ClassVar[str] = ""  # the reference library's name for this class
    WEIGHTS_NAME: ClassVar[str] = "diffusion_pytorch_model.safetensors"

    config: Any

    def __init__(self, config: Any = None, **fields: Any) -> None:
        super().__init__()
        if config is None:
            known = {f.name for f in dataclasses.fields(self.Config)}
            for name in fields:
                if name not in known:
                    raise TypeError(
                        f"{type(self).__name__} has no configuration field {name!r}; "
                        f"it has {', '.join(sorted(known))}."
                    )
            config = self.Config(**{k: _as_tuple(v) for k, v in fields.items()})
        elif fields:
            config = dataclasses.replace(config, **fields)
        self.config = config

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' type."""
        return next(self.parameters()).dtype

    # --- configuration ---------------------------------------------------------------------

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the model, with fresh weights, from a dictionary such as diffusers writes.

        Args:
            config: configuration fields; those that start with `_` are notes and are passed over.

        Raises:
            ValueError: a field asks for something that this course does not build.
        """
        known = {f.name for f in dataclasses.fields(cls.Config)}
        fields: dict[str, Any] = {}
        for name, value in config.items():
            if name in known:
                fields[name] = _one_side(name, _as_tuple(value))
            elif not _is_unused(name, value, cls.FIXED):
                raise ValueError(
                    f"{cls.__name__} does not support {name}={value!r}; "
                    f"expected {cls.FIXED.get(name, 'the field to be absent, null or false')!r}."
                )
        sized = {k: v for k, v in fields.items() if (k, v) != ("sample_size", None)}
        check_types(cls.Config, sized)  # a U-Net alone may leave its size open, as in diffusers
        return cls(cls.Config(**fields))

    def to_config(self) -> dict[str, Any]:
        """The configuration as diffusers or transformers would write it."""
        return {"_class_name": self.CLASS_NAME, **dataclasses.asdict(self.config)}

    # --- weights ---------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write `config.json` and the weights, each in one step so that no half file remains.

        Args:
            folder: made if it is missing.
            dtype: floating type to store; `None` keeps the parameters' own.
        """
        from safetensors.torch import save

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}
        if dtype is not None:
            state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
        write_atomically(folder / self.WEIGHTS_NAME, save(state, metadata={"format": "pt"}))
        text = json.dumps(self.to_config(), indent=2, sort_keys=True) + "\n"
        write_atomically(folder / "config.json", text.encode())

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: torch.dtype = torch.float32) -> Self:
        """Read a folder that this course, diffusers or transformers wrote.

        Args:
            folder: holds `config.json` and one `.safetensors` file.
            dtype: the parameters' type in memory, whatever the file holds.

        Returns:
            The model in evaluation mode, on the CPU.

        Raises:
            WeightsError: the folder, a file or a parameter is missing, damaged or of another shape.
        """
        folder = Path(folder)
        with torch.device("meta"):  # no time is lost on random weights that are replaced at once
            model = cls.from_config(read_config(folder))
        state = cls.convert_state_dict(read_weights(folder, cls.WEIGHTS_NAME))
        state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
        try:
            model.load_state_dict(state, strict=True, assign=True)
        except RuntimeError as error:
            raise WeightsError(
                f"The weights in {folder} do not fit {cls.__name__} as its config.json describes "
                f"it. {_first_lines(error)}"
            ) from None
        return model.requires_grad_(True).eval()

    @classmethod
    def convert_state_dict(cls, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Hook for names that older files use; the default changes nothing."""
        return state


def read_config(folder: Path) -> dict[str, Any]:
    """Read `config.json` of a model folder, with an error that says what is wrong."""
    path = folder / "config.json"
    if not folder.is_dir():
        raise WeightsError(
            f"There is no folder {folder}. Expected a model folder with config.json."
        )
    if not path.is_file():
        raise WeightsError(f"{folder} has no config.json, so it is not a model folder.")
    return read_json(path)


def check_counts(config: Any, names: Sequence[str], lists: Sequence[str] = ()) -> None:
    """Refuse fields that are not a whole number of at least 1, or for `lists`, one or several."""
    for name in (*names, *lists):
        value = getattr(config, name)
        several = name in lists and isinstance(value, tuple)
        for number in value if several else (value,):
            if not isinstance(number, int) or number < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1.")


def check_groups(config: Any) -> None:
    """Refuse widths that do not split into `norm_num_groups` equal groups."""
    for width in config.block_out_channels:
        if width % config.norm_num_groups:
            raise ValueError(
                f"norm_num_groups is {config.norm_num_groups}; expected a divisor of each of "
                f"block_out_channels {config.block_out_channels}."
            )


# The types that a configuration's fields have, and how to say them.
KINDS: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    int: ("a whole number", lambda value: type(value) is int),
    float: ("a number", lambda value: type(value) in (int, float) and math.isfinite(value)),
    str: ("a text", lambda value: isinstance(value, str)),
    type(None): ("null", lambda value: value is None),
}


def check_types(config: type, fields: Mapping[str, Any]) -> None:
    """Refuse values of another type than their field's.

    Args:
        config: a dataclass whose fields are numbers, texts, tuples of them, or one of several.
        fields: what a file says.

    Raises:
        ValueError: by the name of the field.
    """
    hints = get_type_hints(config)
    for name, value in fields.items():
        hint = hints[name]
        choices = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        expected = []
        for choice in choices:
            items = get_args(choice)  # of tuple[int, ...]
            if not items and choice not in KINDS:
                break  # a configuration inside, which checks itself
            what, fits = KINDS[items[0] if items else choice]
            if items:
                if isinstance(value, tuple) and all(map(fits, value)):
                    break
                what = f"a list, each {what}"
            elif fits(value):
                break
            expected.append(what)
        else:
            given = list(value) if isinstance(value, tuple) else value
            raise ValueError(f"{name} is {given!r}; expected {' or '.join(expected)}.")


def _one_side(name: str, value: Any) -> Any:
    """diffusers lets `sample_size` be height and width; the course's pictures are square."""
    if name == "sample_size" and isinstance(value, tuple):
        if len(value) == 2 and value[0] == value[1]:
            return value[0]
        raise ValueError(
            f"sample_size is {list(value)}; expected one whole number, for the course draws square "
            "pictures."
        )
    return value


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(v) for v in value) if isinstance(value, list) else value


def _is_unused(name: str, value: Any, fixed: Mapping[str, Any]) -> bool:
    if name in fixed:
        return fixed[name] is ... or _as_tuple(value) == fixed[name]
    return name.startswith("_") or value is None or value is False


def _first_lines(error: Exception, count: int = 4) -> str:
    lines = [line.strip() for line in str(error).splitlines()[1 : 1 + count]]
    return " ".join(line if len(line) < 200 else line[:200] + " ..." for line in lines)
