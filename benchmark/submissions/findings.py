"""What a check finds: one line each, and how to mend what is wrong."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "wrong", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check; ``mend`` says what to do where ``state`` is ``wrong``. A ``note`` wants nothing."""

    check: str
    state: State
    message: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{self.state:5}  {self.check}: {self.message}"
        return f"{line}\n       mend: {self.mend}" if self.mend else line

    def as_dict(self) -> dict[str, str]:
        """Return the fields, for JSON."""
        return asdict(self)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Finding":
        """Read what another process wrote; only texts are taken from it."""
        state: State = given["state"] if given.get("state") in ("ok", "note") else "wrong"
        return cls(str(given.get("check", "")), state, str(given.get("message", "")), str(given.get("mend", "")))


def failed(findings: Iterable[Finding]) -> bool:
    """Tell whether anything has to be mended."""
    return any(finding.state == "wrong" for finding in findings)
