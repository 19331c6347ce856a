"""The run-time checker behind ``--jaxtyping-packages``: array annotations are checked, all others are pyright's."""

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def names_axes(hint: Any) -> bool:
    """Return whether an array type with named axes occurs in ``hint``, as in ``Float[Tensor, "image dim"] | None``."""
    return (isinstance(hint, type) and issubclass(hint, AbstractArray)) or any(map(names_axes, get_args(hint)))


def checked[**P, T](function: Callable[P, T]) -> Callable[P, T]:
    """Check the array annotations of a stand-in that jaxtyping generates, one per signature.

    beartype rejects ``typing.Self`` outside decorated classes and an ``int`` where a ``float`` is declared; neither says
    anything about a shape.
    """
    function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if names_axes(hint)}
    return beartype(function)
