"""LaTeX tables compile, fit the page and show every sign, whatever methods are called."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_ranking import row

from benchmark.ranking.citations import gather
from benchmark.ranking.latex import escape, to_latex

NASTY = r"""50 % of #1 & {x} $y$ ~ ^ \ _ < > | " ' ` · – — † ‡ § × ≥ ≤ ± π µ ° é ü Ł ß ñ “q” [heads=model] \input{x} 猫 😀"""
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\begin{document}
%s
\bibliographystyle{plain}
\bibliography{all}
\end{document}
"""
ROWS = [
    row("grad_eclip[heads=model]", 1, task="scenes_1·a–b", mean=0.61, low=0.5, high=0.7, forwards=2.0),
    row("a_b%c#d&e~f^g\\h<i>j", 2, tie_group=1, below=("random", "centre"), badge="recomputed", n_degenerate=2),
    row("[x] first", 3, n_failed=3, reason=NASTY, badge="self-reported", n_excluded=1, exclusion="caption ≥ 64 tokens"),
    row("d", None, n=4, mean=None, low=None, high=None, tie_group=None),
    row("e", None, n=0, state="unsupported", reason="needs 7 × 7 patches; has none"),
]
BIBTEX = "@article{a_2020, title={T}, author={A, B}, journal={J}, year={2020}}"


def test_every_special_sign_is_escaped() -> None:
    assert escape("a_b 5 % [x] <\\>") == r"a\_b 5 \% [x] \textless{}\textbackslash{}\textgreater{}"
    assert escape("Möller, Łódź 猫") == r"M\"{o}ller, \L{}\'{o}d\'{z} \texttt{U+732B}"
    assert escape("a\nb\t c") == "a b c"
    assert escape(NASTY).isascii()


def test_the_best_tie_group_is_bold_and_intervals_stand_beside_means() -> None:
    lines = to_latex(ROWS).splitlines()
    first, second, third = (next(line for line in lines if sign in line) for sign in ("grad", "a\\_b", "first"))
    assert r"\textbf{grad\_eclip[heads=model]} & \textbf{0.610} & [0.500, 0.700]" in first
    assert r"\dag{} \ddag{}" in second
    assert second.count(r"\textbf") == 2
    assert r"\textbf" not in third


def test_methods_are_cited_where_asked_for() -> None:
    text = to_latex(ROWS, {"d": ("k1", "k2"), "e": ()})
    assert text.count(r"\cite") == 1
    assert r"d~\cite{k1,k2} & --" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed; it compiles the tables")
def test_tables_compile_and_fit_the_page(tmp_path: Path) -> None:
    found = gather({"d": BIBTEX})
    names = [f"method_{i}" + "[parameter=0.5,other_parameter=12]" * (i % 3 == 0) for i in range(24)]
    wide = [row(name, 10 + i, rank_low=1, rank_high=26, forwards=2944.0) for i, name in enumerate(names)]
    cited = {item.method: found.keys["d"] for item in [*ROWS, *wide]}
    text = to_latex([*ROWS, *wide], cited)
    (tmp_path / "table.tex").write_text(DOCUMENT % text, encoding="utf-8")
    (tmp_path / "all.bib").write_text(str(found), encoding="utf-8")
    (tmp_path / "table.bbl").write_text("\\begin{thebibliography}{1}\n\\bibitem{a_2020} T.\n\\end{thebibliography}\n")
    for _ in range(2):
        done = compiled(tmp_path)
        assert done.returncode == 0, done.stdout[-1500:]
    assert not re.findall("Overfull|Float too large", done.stdout)
    assert not re.findall("undefined|Missing character", done.stdout)
    if shutil.which("bibtex"):
        answer = subprocess.run(["bibtex", "table"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert answer.returncode == 0, answer.stdout


def compiled(folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "table.tex"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120, check=False)
