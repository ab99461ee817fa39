"""Records: what `@dataclass` gives, without compiling six methods a class.

In: a class of `Record` (frozen) or `MutableRecord` whose attributes are annotated, with defaults or
`field(default_factory=...)`. Out: a dataclass for `fields`, `replace` and `asdict` and for type checkers. The methods
are written once, here: forty dataclasses cost 25 ms at each start, a tenth of what a small capture takes. For what is
made by the thousand, not by the million.
"""

from dataclasses import MISSING, FrozenInstanceError, dataclass, field
from typing import Any, ClassVar, NoReturn, dataclass_transform


class _Methods:
    """What both kinds have."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        dataclass(cls, init=False, repr=False, eq=False)

    def __init__(self, *values: Any, **named: Any) -> None:
        declared = self.__dataclass_fields__
        named.update(zip(declared, values))
        if len(values) > len(declared) or named.keys() - declared.keys():
            raise TypeError(f"{type(self).__name__}: got {', '.join(named)}, expected {', '.join(declared)}")
        for name, one in declared.items():
            if name in named:
                value = named[name]
            elif one.default is not MISSING:
                value = one.default
            elif one.default_factory is not MISSING:
                value = one.default_factory()
            else:
                raise TypeError(f"{type(self).__name__}: {name} is missing")
            self.__dict__[name] = value

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


@dataclass_transform(field_specifiers=(field,))
class MutableRecord(_Methods):
    """Base of records that change; they are no keys."""


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record(_Methods):
    """Base of frozen records."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))
