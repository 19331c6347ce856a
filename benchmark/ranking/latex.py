"""Leaderboards as LaTeX: booktabs tables that pdfLaTeX sets without any other package, whatever methods are called."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from benchmark.ranking.boards import Row
from benchmark.ranking.tables import boards, cells, remarks

HEADER = ("rank", "group", "method", "mean", "95 % interval", "n", "forwards")
LONG = 26
"""Characters of a name with its marks and citations that fit on one line."""

_SHOWN = (0, 1, 2, 3, 4, 5, 8)  # of the cells of a text table; failed and degenerate samples are named below


def _pairs(text: str) -> dict[str, str]:
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


_COMMANDS = _pairs(
    r"\ textbackslash ~ textasciitilde ^ textasciicircum < textless > textgreater | textbar ` textasciigrave † dag ‡ ddag § S "
    "… ldots • textbullet ß ss ø o Ø O æ ae Æ AE ł l Ł L"
)
_MATHS = _pairs(
    "· cdot × times ± pm ≤ leq ≥ geq ≠ neq ≈ approx → to ← leftarrow ∞ infty √ surd ∈ in α alpha β beta γ gamma δ delta "
    "ε varepsilon θ theta κ kappa λ lambda μ mu µ mu ν nu π pi ρ rho σ sigma τ tau φ varphi χ chi ψ psi ω omega Γ Gamma "
    "Δ Delta Σ Sigma Φ Phi Ω Omega"
)
_SIGNS = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{sign: rf"\{name}{{}}" for sign, name in _COMMANDS.items()},
    **{sign: rf"$\{name}$" for sign, name in _MATHS.items()},
    **_pairs("– -- — --- − $-$ ‘ ` ’ ' “ `` ” '' ° $^\\circ$"),
}
_ACCENTS = _pairs(
    "\u0300 ` \u0301 ' \u0302 ^ \u0303 ~ \u0304 = \u0306 u \u0307 . \u0308 \" \u030a r \u030b H \u030c v \u0327 c \u0328 k"
)


def to_latex(rows: Sequence[Row], citations: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return one table per task, model and metric, the best tie group bold, and what is to be said of it below.

    ``citations`` gives the BibTeX keys that cite a method, by its label; a method without any stands without.
    """
    parts = [r"% needs \usepackage{booktabs}"]
    for title, board in boards(rows):
        first = board[0]
        label = re.sub(r"[^A-Za-z0-9]+", "-", f"{first.task}-{first.metric}-{first.model}").strip("-")
        parts += [r"\begin{table}[htbp]", r"\centering\footnotesize\setlength{\tabcolsep}{2.5pt}"]
        parts += [rf"\caption{{{escape(title)}}}", rf"\label{{tab:{label}}}", r"\smallskip", r"\begin{tabular}{@{}rrlrlrr@{}}"]
        parts += [r"\toprule", " & ".join(map(escape, HEADER)) + r" \\", r"\midrule"]
        for row in board:
            line = [escape(cells(row)[i]) for i in _SHOWN]
            line[2] = _method(cells(row)[2], (citations or {}).get(row.method, ()))
            if row.tie_group == 1:
                line[2:4] = [rf"\textbf{{{cell}}}" for cell in line[2:4]]
            parts.append(" & ".join(line) + r" \\")
        parts += [r"\bottomrule", r"\end{tabular}"]
        degenerate = [f"{row.method} {row.n_degenerate}" for row in board if row.n_degenerate]
        said = [*remarks(board), *([f"degenerate, counted as chance: {', '.join(degenerate)}"] if degenerate else [])]
        if notes := [f"{escape(remark)}." for remark in said]:
            parts += ["", r"\smallskip", r"\parbox{\linewidth}{\raggedright\sloppy", *notes, "}"]
        parts += [r"\end{table}", ""]
    return "\n".join(parts).rstrip()


def _method(name: str, keys: Sequence[str]) -> str:
    """Return the cell of a method; a long name may break where its parameters do, so that the table fits the page."""
    cell, cited = escape(name), rf"~\cite{{{','.join(keys)}}}" if keys else ""
    if len(name) + 3 * len(keys) <= LONG:
        return cell + cited
    breakable = re.sub(r"(\\_|[\[,=])", r"\1\\allowbreak{}", cell)
    return rf"\parbox[t]{{0.33\linewidth}}{{\raggedright\hangindent=1em {breakable}{cited}}}"


def escape(text: str) -> str:
    r"""Return any text as LaTeX, on one line; a sign that plain pdfLaTeX cannot set is named by its code point.

    >>> escape("50 % of grad_eclip[heads=model] · π")
    '50 \\% of grad\\_eclip[heads=model] $\\cdot$ $\\pi$'
    """
    return "".join(_SIGNS.get(sign) or _in_ascii(sign) for sign in " ".join(text.split()))


def _in_ascii(sign: str) -> str:
    if " " <= sign <= "~":
        return sign
    letter, *accents = unicodedata.normalize("NFD", sign)
    if len(accents) == 1 and accents[0] in _ACCENTS and letter.isascii():
        return rf"\{_ACCENTS[accents[0]]}{{{letter}}}"
    return rf"\texttt{{U+{ord(sign):04X}}}"
