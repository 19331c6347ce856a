"""Controls bound to the address: what the reader chooses stands in it, and a pasted address restores it.

Every function draws one control, reads its first value from the address (``?key=value``), and writes the value back; a value
at its default is left out. A value that is not among the options falls back to the default, with a note. No value reaches a
store but as a member of the options or as a parameter of a query.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import streamlit as st

from benchmark.site.wording import line, plain

LONGEST_TEXT = 200


def select[T](
    label: str,
    key: str,
    options: Sequence[T],
    *,
    default: T | None = None,
    shown: Callable[[T], str] = str,
    help: str | None = None,  # noqa: A002 - streamlit's own name
) -> T:
    """Let the reader choose one of ``options`` (at least one); without ``default`` the first one is meant."""
    usual = options[0] if default is None or default not in options else default
    names = {_name(option): option for option in options}
    asked = st.query_params.get(key)
    if asked is not None and asked not in names:
        _note(label, asked, shown(usual))
    slot = _begin(key, names.get(asked, usual) if asked is not None else usual)
    if st.session_state[slot] not in options:
        st.session_state[slot] = usual
    chosen = st.selectbox(label, options, format_func=lambda option: line(shown(option), 80), key=slot, help=help)
    _write(key, None if chosen == usual else [_name(chosen)])
    return chosen


def multiselect[T](
    label: str,
    key: str,
    options: Sequence[T],
    *,
    default: Sequence[T] = (),
    most: int | None = None,
    shown: Callable[[T], str] = str,
    help: str | None = None,  # noqa: A002 - streamlit's own name
) -> list[T]:
    """Let the reader choose several of ``options``, at most ``most``, in the order of choosing."""
    usual = [option for option in default if option in options][:most]
    names = {_name(option): option for option in options}
    asked = [name for name in st.query_params.get_all(key) if name] if key in st.query_params else None
    for name in asked or ():
        if name not in names:
            _note(label, name, None)
    first = usual if asked is None else list(dict.fromkeys(names[name] for name in asked if name in names))[:most]
    if asked and not first:
        first = usual
    slot = _begin(key, first)
    st.session_state[slot] = [option for option in st.session_state[slot] if option in options][:most]
    widget = cast(Any, st.multiselect)
    chosen = list(
        widget(label, options, format_func=lambda option: line(shown(option), 80), key=slot, help=help, max_selections=most)
    )
    _write(key, None if chosen == usual else [_name(option) for option in chosen] or [""])
    return chosen


def toggle(label: str, key: str, *, default: bool = False, help: str | None = None) -> bool:  # noqa: A002
    """Let the reader switch something on or off; the address says 1 or 0."""
    asked = st.query_params.get(key)
    if asked is not None and asked not in ("0", "1"):
        _note(label, asked, "on" if default else "off")
    slot = _begin(key, asked == "1" if asked in ("0", "1") else default)
    chosen = st.toggle(label, key=slot, help=help)
    _write(key, None if chosen == default else ["1" if chosen else "0"])
    return chosen


def slider(label: str, key: str, low: int, high: int, *, default: int, help: str | None = None) -> int:  # noqa: A002
    """Let the reader choose a whole number from ``low`` to ``high``; with nothing to choose from, ``low`` is returned."""
    if high <= low:
        return low
    usual = min(max(default, low), high)
    asked = st.query_params.get(key)
    value = int(asked) if asked is not None and asked.isascii() and asked.isdigit() and len(asked) < 10 else None
    if asked is not None and (value is None or not low <= value <= high):
        _note(label, asked, str(usual))
        value = None
    slot = _begin(key, usual if value is None else value)
    st.session_state[slot] = min(max(st.session_state[slot], low), high)
    chosen = st.slider(label, low, high, key=slot, help=help)
    _write(key, None if chosen == usual else [str(chosen)])
    return chosen


def text(label: str, key: str, *, default: str = "", placeholder: str = "", help: str | None = None) -> str:  # noqa: A002
    """Let the reader write a line of at most 200 signs."""
    slot = _begin(key, line(st.query_params.get(key, default), LONGEST_TEXT))
    chosen = line(st.text_input(label, key=slot, max_chars=LONGEST_TEXT, placeholder=placeholder, help=help), LONGEST_TEXT)
    _write(key, None if chosen == default else [chosen])
    return chosen


def assign(key: str, value: Any) -> None:
    """Give a control another value, from the callback of a button (next and previous); the control validates it."""
    st.session_state[_slot(key)] = value


def _slot(key: str) -> str:
    return f"control:{st.session_state.get('page', '')}:{key}"


def _begin(key: str, first: Any) -> str:
    """Return where a control's value is kept, filled on its first drawing."""
    slot = _slot(key)
    if slot not in st.session_state:
        st.session_state[slot] = first
    return slot


def _write(key: str, names: list[str] | None) -> None:
    if names is None:
        if key in st.query_params:
            del st.query_params[key]
    elif st.query_params.get_all(key) != names:
        st.query_params[key] = names


def _name(option: Any) -> str:
    return str(option)


def _note(label: str, asked: str, meant: str | None) -> None:
    instead = "it is left out" if meant is None else f"showing {plain(meant, 80)}"
    st.info(f"The address asks for {plain(asked, 80)} as {plain(label).lower()}, which is not here; {instead}.")
