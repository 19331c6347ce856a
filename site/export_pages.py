"""The pages of an export: what each is about, gathered from the site's own questions and handed to a template."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from benchmark.ranking import Row
from benchmark.ranking import render as render_rows
from benchmark.ranking.citations import gather, suite_entry
from benchmark.ranking.diagram import draw_track
from benchmark.ranking.pareto import CONTROLS, TRUTH_READERS, ParetoBoard, pareto
from benchmark.ranking.pareto_diagram import draw_pareto
from benchmark.ranking.tables import BADGES, BELOW, remarks, to_parquet
from benchmark.ranking.tracks import TrackTable
from benchmark.site import boards, charts, export_figures, export_samples, queries, samples_store
from benchmark.site.access import Store
from benchmark.site.catalogue import Catalogue
from benchmark.site.charts import estimates
from benchmark.site.export_files import Files, joined, slug
from benchmark.site.export_samples import SamplePage
from benchmark.site.samples_store import Listed
from benchmark.site.wording import count, line, number
from benchmark.snapshots.manifest import MANIFEST

TEMPLATES = Path(__file__).with_name("export_templates")
DOCUMENTS = Path(__file__).with_name("documents")
LEADERS = 3
LARGEST = 1e300
MENU = {
    "index.html": "Leaderboards",
    "compare.html": "Compare",
    "samples.html": "Samples",
    "methods.html": "Methods",
    "tasks.html": "Tasks and data",
    "failures.html": "Failures",
    "ranks.html": "How ranks are made",
    "submit.html": "Submit",
    "downloads.html": "Downloads and citation",
}
BETTER = {"higher": "higher is better", "lower": "lower is better", "neither": "no direction, so nothing is ranked"}
_ARXIV = re.compile(r"(?<![\d.])(\d{4}\.\d{4,5})(?![\d.])")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardView:
    """One ranked table with its chart and the files beside it."""

    metric: str
    rows: tuple[Row, ...]
    chart: export_figures.Chart | None
    words: str
    floors: tuple[tuple[str, float], ...]
    files: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the first page: a board and who leads it."""

    task: str
    model: str
    metric: str
    address: str
    leaders: tuple[Row, ...]
    n_samples: int
    n_ranked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackView:
    """A track on the page that compares: mean ranks, and score against cost on each of its boards."""

    name: str
    table: TrackTable | None
    words: str
    figure: str | None
    paretos: tuple[tuple[ParetoBoard, str, str], ...]


class Pages:
    """All pages of one state of a store."""

    def __init__(self, store: Store, catalogue: Catalogue, files: Files, n_samples: int, data_dir: Path | None) -> None:
        self.store, self.catalogue, self.files, self.n_samples, self.data_dir = store, catalogue, files, n_samples, data_dir
        self.listed = boards.listed(store)
        self.labels = {item["label"]: item for item in queries.labels(store)}
        self.environment = _environment(self)

    def write(self, tell: Callable[[str], None]) -> None:
        """Write everything."""
        steps: Sequence[tuple[str, Callable[[], None]]] = (
            (count(len(self.groups), "leaderboard"), self._boards),
            ("comparisons", self._compare),
            ("samples", self._samples),
            ("methods", self._methods),
            ("tasks and data", self._tasks),
            ("failures, documents and downloads", self._rest),
        )
        self._assets()
        for what, step in steps:
            tell(f"writing {what}")
            step()

    @cached_property
    def groups(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """Task and encoder of every page of boards with its metrics, the headline first."""
        found: dict[tuple[str, str], list[str]] = {}
        for item in self.listed:
            found.setdefault((item.task, item.model), []).append(item.metric)
        return {
            (task, model): tuple(sorted(metrics, key=lambda metric: (metric != self.catalogue.headline(task), metric)))
            for (task, model), metrics in found.items()
        }

    @cached_property
    def tracks(self) -> Mapping[str, Mapping[str, str]]:
        """Every track with its tasks and the metric of each that counts there: the headline, or the first of the track."""
        found: dict[str, dict[str, str]] = {}
        for (task, _), metrics in self.groups.items():
            for metric in metrics:
                found.setdefault(boards.track_of(metric), {}).setdefault(task, metric)
        return dict(sorted(found.items(), key=lambda item: (item[0] in ("cost", "other"), item[0])))

    @cached_property
    def chosen(self) -> Mapping[str, Sequence[Listed]]:
        """The samples of each task that have a page."""
        return export_samples.chosen(samples_store.query_of(self.store), self.n_samples)

    def rows(self, task: str, model: str, metric: str) -> tuple[Row, ...]:
        """Return a board; what strangers' code says of failing on texts that may not be shown is left out."""
        rows = boards.board(self.store, task, model, metric)
        if self.shows(self.data_of(task)):
            return rows
        return tuple(
            row if row.state == "unsupported" else replace(row, reason="not shown" if row.reason else None) for row in rows
        )

    def data_of(self, task: str) -> str:
        """Return the data set of a task."""
        return self.catalogue.task(task).data or task.partition("-")[0]

    def shows(self, data: str) -> bool:
        """Whether images and texts of a data set may be shown."""
        return self.catalogue.data_set(data).shows_images

    def is_control(self, label: str) -> bool:
        """Whether a method is a control: it explains nothing, or it is shown the truth."""
        card = self.catalogue.method(label)
        return card.baseline or card.reads_truth or label in (*CONTROLS, *TRUTH_READERS)

    def board_address(self, task: str, model: str) -> str:
        """Return where the boards of a task and an encoder stand."""
        return f"boards/{joined(task, model)}.html"

    def _page(self, path: str, template: str, title: str, **facts: Any) -> None:
        root = "../" * path.count("/")
        text = self.environment.get_template(template).render(path=path, root=root, title=title, **facts)
        self.files.write(path, text.strip() + "\n")

    def _assets(self) -> None:
        style = (TEMPLATES / "style.css").read_text(encoding="utf-8") + export_figures.level_styles()
        self.files.write("style.css", style)
        self.files.write("site.js", (TEMPLATES / "site.js").read_text(encoding="utf-8"))

    def _boards(self) -> None:
        for (task, model), metrics in self.groups.items():
            views = [self._board(task, model, metric) for metric in metrics]
            self._page(
                self.board_address(task, model),
                "board.html",
                f"{task} with {model}",
                task=self.catalogue.task(task),
                model=model,
                boards=views,
                samples=self.chosen.get(task, ()),
            )
        tracks = {
            name: [
                self._entry(task, model, metric)
                for task, metric in tasks.items()
                for model in sorted({item.model for item in self.listed if (item.task, item.metric) == (task, metric)})
            ]
            for name, tasks in self.tracks.items()
        }
        self._page("index.html", "index.html", "Leaderboards", tracks=tracks)

    def _board(self, task: str, model: str, metric: str) -> BoardView:
        rows = self.rows(task, model, metric)
        items = estimates(rows)
        floors = tuple((row.method, row.mean) for row in rows if row.method in CONTROLS and row.mean is not None)
        title = f"{metric} ({rows[0].unit})"
        base = f"boards/{joined(task, model)}/{slug(metric)}"
        files = [
            ("CSV", self.files.write(f"{base}.csv", render_rows(rows, "csv") + "\n")),
            ("Parquet", self._parquet(f"{base}.parquet", rows)),
            ("LaTeX", self.files.write(f"{base}.tex", render_rows(rows, "latex") + "\n")),
            ("JSON", self.files.write(f"{base}.json", render_rows(rows, "json") + "\n")),
        ]
        if items:
            figure = charts.interval_figure(items, title, floors)
            files.append(("SVG", self.files.write(f"{base}.svg", export_figures.svg(figure))))
        return BoardView(
            metric=metric,
            rows=rows,
            chart=export_figures.chart(items, floors) if items else None,
            words=charts.interval_words(items, title),
            floors=floors,
            files=tuple(files),
            remarks=tuple(remarks(rows)),
        )

    def _parquet(self, path: str, rows: Sequence[Row]) -> str:
        self.files.write(path, b"")
        to_parquet(rows, self.files.folder / path)
        return self.files.write(path, (self.files.folder / path).read_bytes())

    def _entry(self, task: str, model: str, metric: str) -> Entry:
        ranked = [row for row in self.rows(task, model, metric) if row.rank is not None]
        contenders = [row for row in ranked if not self.is_control(row.method)]
        return Entry(
            task=task,
            model=model,
            metric=metric,
            address=f"{self.board_address(task, model)}#{slug(metric)}",
            leaders=tuple(row for row in contenders if row.tie_group == contenders[0].tie_group),
            n_samples=ranked[0].n_samples if ranked else 0,
            n_ranked=len(contenders),
        )

    def _compare(self) -> None:
        views = [self._track(name, tasks) for name, tasks in self.tracks.items()]
        self._page("compare.html", "compare.html", "Compare", tracks=views)

    def _track(self, name: str, tasks: Mapping[str, str]) -> TrackView:
        models = sorted({item.model for item in self.listed})
        table = boards.track(self.store, name, list(tasks.items()), models)
        figure = None
        if table is not None and table.places:
            drawn = replace(table, places=tuple(replace(place, method=_drawable(place.method)) for place in table.places))
            figure = self.files.write(f"figures/track-{slug(name)}.svg", export_figures.svg(draw_track(drawn)))
        there = {(item.task, item.model, item.metric) for item in self.listed}
        paretos: list[tuple[ParetoBoard, str, str]] = []
        for task, metric in tasks.items():
            for model in models:
                if (task, model, metric) in there:
                    paretos += [self._pareto(board) for board in pareto(self.rows(task, model, metric)) if board.points]
        words = "" if table is None or not table.places else charts.critical_difference_words(table)
        return TrackView(name=name, table=table, words=words, figure=figure, paretos=tuple(paretos))

    def _pareto(self, board: ParetoBoard) -> tuple[ParetoBoard, str, str]:
        drawn = replace(board, task=_drawable(board.task), model=_drawable(board.model), metric=_drawable(board.metric))
        drawn = replace(drawn, points=tuple(replace(point, method=line(point.method, 40)) for point in board.points))
        path = f"figures/pareto-{joined(board.task, board.model, board.metric)}.svg"
        return board, self.files.write(path, export_figures.svg(draw_pareto([drawn]))), charts.pareto_words(board)

    def _samples(self) -> None:
        query = samples_store.query_of(self.store)
        unique = {export_samples.address(sample): sample for samples in self.chosen.values() for sample in samples}
        ordered = sorted(unique.values(), key=lambda sample: (sample.data, sample.version, export_samples.order(sample)))
        means = {key: samples_store.method_means(query, *key) for key in {(sample.data, sample.version) for sample in ordered}}
        for i, sample in enumerate(ordered):
            page = export_samples.gather(
                query, sample, means[sample.data, sample.version], self.files, self.shows(sample.data), self.data_dir
            )
            neighbours = [ordered[j] if 0 <= j < len(ordered) else None for j in (i - 1, i + 1)]
            self._sample(page, neighbours)
        texts = {
            export_samples.address(sample): samples_store.sample_row(query, sample)[0] if self.shows(sample.data) else ""
            for sample in ordered
        }
        self._page("samples.html", "samples.html", "Samples", tasks=self.chosen, texts=texts)

    def _sample(self, page: SamplePage, neighbours: Sequence[Listed | None]) -> None:
        base = page.address.removesuffix(".html")
        files = [
            ("CSV", self.files.write(f"{base}.csv", page.scores.to_csv(index=False, lineterminator="\n"))),
            ("JSON", self.files.write(f"{base}.json", _json(page.scores))),
        ]
        before, after = neighbours
        self._page(page.address, "sample.html", page.sample.id, page=page, files=files, before=before, after=after)

    def _methods(self) -> None:
        names = list(dict.fromkeys([*sorted(self.labels), *sorted(self.catalogue.methods)]))
        cards = [(name, self.catalogue.method(name)) for name in names]
        explained, hidden = queries.failures(self.store), self.hidden
        for name, card in cards:
            stored = self.labels.get(name)
            used = json.loads(stored["parameters"]) if stored and stored["parameters"] else {}
            parameters = [
                (
                    parameter,
                    json.dumps(used[parameter]) if parameter in used else "",
                    json.dumps(card.parameters[parameter]) if parameter in card.parameters else "",
                    card.published.get(parameter, ""),
                )
                for parameter in dict.fromkeys([*card.parameters, *used, *card.published])
            ]
            self._page(
                f"methods/{slug(name)}.html",
                "method.html",
                name,
                name=name,
                card=card,
                stored=stored,
                parameters=parameters,
                standings=self._standings(name),
                coverage=queries.coverage(self.store, name) if stored else [],
                failures=[_hushed(item, hidden) for item in explained if item["label"] == name],
                bibtex=self.files.write(f"methods/{slug(name)}.bib", card.bibtex + "\n") if card.bibtex else None,
            )
        self._page("methods.html", "methods.html", "Methods", cards=cards)

    def _standings(self, label: str) -> list[Row]:
        """Return a method's row on the headline board of every task and encoder."""
        return [
            row
            for (task, model), metrics in self.groups.items()
            for row in self.rows(task, model, metrics[0])
            if row.method == label
        ]

    @cached_property
    def hidden(self) -> set[str]:
        """Data sets of this store whose reasons, which may repeat a text, are left out."""
        return {item["data"] for item in queries.data_versions(self.store) if not self.shows(item["data"])}

    def _tasks(self) -> None:
        scored = sorted({item.task for item in self.listed})
        for task in scored:
            card = self.catalogue.task(task)
            metrics = dict.fromkeys([*card.metrics, *(item.metric for item in self.listed if item.task == task)])
            self._page(
                f"tasks/{slug(task)}.html",
                "task.html",
                task,
                card=card,
                data=self.data_of(task),
                models=sorted({item.model for item in self.listed if item.task == task}),
                metrics=[self.catalogue.metric(metric) for metric in metrics],
                largest=LARGEST,
            )
        versions = queries.data_versions(self.store)
        names = list(dict.fromkeys([*(item["data"] for item in versions), *sorted(self.catalogue.data)]))
        for name in names:
            self._page(
                f"data/{slug(name)}.html",
                "data.html",
                name,
                card=self.catalogue.data_set(name),
                known=name in self.catalogue.data,
                versions=[item for item in versions if item["data"] == name],
                examples=[item | {"strata": json.loads(item["strata"])} for item in self._examples(name)],
                samples=[
                    sample
                    for sample in {export_samples.address(s): s for part in self.chosen.values() for s in part}.values()
                    if sample.data == name
                ],
            )
        others = [card for name, card in sorted(self.catalogue.tasks.items()) if name not in scored]
        self._page(
            "tasks.html",
            "tasks.html",
            "Tasks and data",
            tasks=[self.catalogue.task(task) for task in scored],
            others=others,
            data=[(self.catalogue.data_set(name), name in {item["data"] for item in versions}) for name in names],
        )

    def _examples(self, data: str) -> list[queries.Facts]:
        return queries.texts(self.store, data) if self.shows(data) else []

    def _rest(self) -> None:
        explained = [_hushed(item, self.hidden) for item in queries.failures(self.store)]
        scored = [
            _hushed(item | {"data": self.data_of(item["task"])}, {*self.hidden, *self._unshown(item["task"])})
            for item in queries.score_failures(self.store)
        ]
        files = {
            name: [
                ("CSV", self.files.write(f"tables/{name}.csv", pd.DataFrame(found).to_csv(index=False, lineterminator="\n"))),
                ("JSON", self.files.write(f"tables/{name}.json", _json(pd.DataFrame(found)))),
            ]
            for name, found in (("failures", explained), ("score-failures", scored))
            if found
        }
        self._page("failures.html", "failures.html", "Failures", explained=explained, scored=scored, files=files)
        self._page("ranks.html", "document.html", "How ranks are made", body=document("ranking.md"))
        self._page("submit.html", "document.html", "Submit", body=document("submitting.md"))
        self._downloads()

    def _unshown(self, task: str) -> set[str]:
        data = self.data_of(task)
        return set() if self.shows(data) else {data}

    def _downloads(self) -> None:
        keys = [(*group, metric) for group, metrics in self.groups.items() for metric in metrics]
        everything = [row for key in keys for row in self.rows(*key)]
        offered: list[tuple[str, str, list[tuple[str, str]]]] = []
        leaderboard = [
            ("CSV", self.files.write("tables/leaderboard.csv", render_rows(everything, "csv") + "\n")),
            ("Parquet", self._parquet("tables/leaderboard.parquet", everything)),
            ("JSON", self.files.write("tables/leaderboard.json", render_rows(everything, "json") + "\n")),
        ]
        offered.append(("leaderboard", "every row of every board", leaderboard))
        hidden = sorted({name for name, card in self.catalogue.data.items() if not card.shows_images} | self.hidden)
        for table, what in WHAT.items():
            frame = queries.whole(self.store, table, hidden)
            path = self.files.write(f"tables/{table}.parquet", _parquet_bytes(frame))
            offered.append((table, f"{what}: {count(len(frame), 'row')}", [("Parquet", path)]))
        cited = gather(
            {"XLIP-Bench": suite_entry(_version())}
            | {label: self.catalogue.method(label).bibtex for label in self.labels if self.catalogue.method(label).bibtex}
        )
        schema = queries.schema_text(self.store)
        manifest = None
        if self.store.is_snapshot:
            manifest = self.files.write(f"tables/{MANIFEST}", (self.store.path / MANIFEST).read_bytes())
        self._page(
            "downloads.html",
            "downloads.html",
            "Downloads and citation",
            offered=offered,
            suite=suite_entry(_version()),
            bibtex=self.files.write("tables/xlip-bench.bib", f"{cited}\n"),
            schema=schema,
            schema_file=self.files.write("tables/schema.sql", schema + "\n"),
            manifest=manifest,
            runs=queries.runs(self.store),
        )


WHAT: Mapping[queries.Table, str] = {
    "scores": "every score of every sample",
    "explanations": "every explanation's method, cost and outcome, without its arrays",
    "samples": "every sample: text, image and strata",
    "runs": "every command that added to this store",
}


def document(name: str) -> Markup:
    """Return a page of the documentation as HTML."""
    path = DOCUMENTS / name
    if not path.is_file():
        return Markup("<p>The whole text is <code>docs/{}</code> of the repository.</p>").format(name)
    return markdown(path.read_text(encoding="utf-8"))


def markdown(text: str) -> Markup:
    """Return Markdown as HTML without its title; HTML inside it is text, pictures too, links to files become words."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = parser.parse(text)
    if tokens and tokens[0].tag == "h1":
        tokens = tokens[3:]
    for token in tokens:
        token.children = _without_local_links(token.children or []) if token.type == "inline" else token.children
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def _without_local_links(tokens: Sequence[Token]) -> list[Token]:
    kept: list[Token] = []
    inside = False
    for token in tokens:
        if token.type == "link_open":
            inside = not str(token.attrGet("href")).startswith(("https://", "http://"))
        if not (inside and token.type in ("link_open", "link_close")):
            kept.append(token)
        inside = inside and token.type != "link_close"
    return kept


def linked(paper: str) -> Markup:
    """Return a paper's reference with its arXiv numbers as links.

    >>> linked("<b> arXiv 2508.05430")
    Markup('&lt;b&gt; arXiv <a href="https://arxiv.org/abs/2508.05430" rel="noreferrer">2508.05430</a>')
    """
    address = r'<a href="https://arxiv.org/abs/\1" rel="noreferrer">\1</a>'
    return Markup(_ARXIV.sub(address, str(escape(line(paper, 3000)))))


def _environment(pages: Pages) -> Environment:
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    filters, facts = cast(dict[str, Any], found.filters), cast(dict[str, Any], found.globals)  # typed by their defaults
    filters.update(
        count=count, number=number, slug=slug, linked=linked, markdown=markdown, lines=_lines, short=line, cost=_cost
    )
    facts.update(
        menu=MENU,
        better=BETTER,
        below=BELOW,
        marks=BADGES,
        n_leaders=LEADERS,
        overview=queries.overview(pages.store),
        source=pages.store.path.name,
        is_snapshot=pages.store.is_snapshot,
        catalogue=pages.catalogue,
        is_control=pages.is_control,
        board_address=pages.board_address,
        sample_address=export_samples.address,
        shows=pages.shows,
        data_of=pages.data_of,
    )
    return found


def _shown(value: Any) -> Any:
    """Take control characters and line breaks out of all text; a missing value is a dash."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return line(value, 4000)
    return "–" if value is None else value


def _lines(text: str) -> Markup:
    """Return text with its line breaks, for where they are kept."""
    parts = (" " * (len(part) - len(part.lstrip())) + line(part, 4000) for part in text.splitlines())
    return Markup("\n").join(parts)


def _cost(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}".replace(",", " ")


def _drawable(text: str) -> str:
    """Return a name that matplotlib draws as it is: a dollar begins no formula."""
    return line(text, 40).replace("$", r"\$")


def _hushed(item: queries.Facts, hidden: set[str]) -> queries.Facts:
    """Leave out what strangers' code says of failing on a text that may not be shown."""
    return item | {"reason": "not shown"} if item["data"] in hidden and item["status"] != "unsupported" else item


def _json(table: pd.DataFrame) -> str:
    return f"{table.to_json(orient='records', indent=1, date_format='iso', force_ascii=False)}\n"


def _parquet_bytes(table: pd.DataFrame) -> bytes:
    kinds = {name: {type(value) for value in table[name].tolist()} - {type(None)} for name in table.columns}
    mixed = {name: table[name].astype("string") for name, found in kinds.items() if len(found) > 1}
    return table.assign(**mixed).to_parquet(None, index=False)


def _version() -> str:
    try:
        return version("xlip-bench")
    except PackageNotFoundError:
        return "unknown"
