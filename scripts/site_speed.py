"""Measure the site on a store of one million scores and 20,000 explanations: first page, filters, memory.

``python scripts/site_speed.py FOLDER`` writes ``FOLDER/site_speed.duckdb`` unless it is there, serves it by ``benchmark site``,
drives a headless Chromium through it and prints one line of JSON for each measurement. Needs playwright, and Debian's chromium.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from benchmark.explanations import Explanation
from benchmark.site import catalogue
from benchmark.store import schema

LOOKED = 40.0  # seconds that the reader looks at the first page, while other boards are ranked
N_SAMPLES, N_METHODS, N_BOARDS = 800, 25, 50  # 20,000 explanations, 1,000,000 scores
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
DONE = "[data-testid=stApp][data-test-script-state=notRunning]"
WATCH = """search => {
  window.drawn = new Promise(resolve => document.addEventListener("click", () => {
    const start = performance.now();
    const app = document.querySelector("[data-testid=stApp]");
    let seen = false;
    const look = () => {
      seen ||= app.dataset.testScriptState === "running";
      const there = search.startsWith("!") ? !location.search.includes(search.slice(1)) : location.search.includes(search);
      if (seen && there && app.dataset.testScriptState === "notRunning") resolve(performance.now() - start);
      else requestAnimationFrame(look);
    };
    look();
  }, { capture: true, once: true }));
}"""


def boards(n: int) -> list[tuple[str, str]]:
    """Return real tasks with their metrics, those of the page that opens first before the others."""
    cards = catalogue.load()
    tasks = sorted(cards.tasks.values(), key=lambda card: (cards.metric(card.metrics[0]).track != "localisation", card.name))
    return [(card.name, metric) for card in tasks for metric in card.metrics][:n]


def write(path: Path, n_samples: int, n_methods: int, n_boards: int) -> None:
    """Write a store of ``n_samples * n_methods`` explanations, each with ``n_boards`` scores."""
    rng = np.random.default_rng(0)
    chosen = sorted(name for name, card in catalogue.load().methods.items() if not card.reads_truth)
    methods = (chosen + [f"fixlip[budget={2**i}]" for i in range(n_methods)])[:n_methods]
    payloads = [Explanation(image=rng.standard_normal((7, 7)), text=rng.standard_normal(6)).to_bytes() for _ in range(64)]
    frames = {
        "methods": pd.DataFrame({"label": methods, "skill": rng.normal(0.5, 0.1, len(methods))}),
        "boards": pd.DataFrame(boards(n_boards), columns=["task", "metric"]),
        "payloads": pd.DataFrame({"number": range(len(payloads)), "payload": payloads}),
    }
    with duckdb.connect(path) as connection:
        schema.create(connection, "site_speed")
        for name, frame in frames.items():
            connection.register(f"of_{name}", frame)
        connection.execute("SELECT setseed(0.5)")
        connection.execute("""INSERT INTO runs BY NAME SELECT 'r' AS run_id, 'site_speed' AS command, 'done' AS status,
            now()::TIMESTAMP AS started, '{}' AS versions, 'cpu' AS device, [0] AS seeds, '{}' AS hardware""")
        connection.execute(
            """INSERT INTO samples BY NAME
            SELECT 'scenes' AS data, '1' AS data_version, 'scenes/' || i || '/phrase' AS sample_id, 'h' || i AS text_hash,
            'a red star' AS text, 'scenes/' || i AS cluster,
            '{"n_objects": "' || (i % 3) || '"}' AS strata FROM range(?) AS t(i)""",
            [n_samples],
        )
        connection.execute("""INSERT INTO explanations BY NAME
            SELECT label || ' ' || sample_id AS unit_key, 'embedded' AS encoder, 'r' AS revision, label.split('[')[1] AS method,
            label, 1 AS method_version, '{}' AS parameters, data, data_version, sample_id, text_hash, 0 AS seed,
            if(hash(label || sample_id) % 97 = 0, 'failed', 'ok') AS status, payload, 0.3 AS similarity,
            100.0 AS image_forwards, 20.0 AS text_forwards, 0.0 AS backwards, random() AS seconds, 'cpu' AS device,
            'r' AS run_id, now()::TIMESTAMP AS created, if(status = 'failed', 'it failed', NULL) AS reason
            FROM samples, of_methods JOIN of_payloads ON number = hash(label || sample_id) % 64""")
        connection.execute("""INSERT INTO scores BY NAME
            SELECT task || metric || unit_key AS score_key, unit_key, task, 1 AS task_version, 't' AS task_hash, metric,
            sample_id.split('/')[2]::INTEGER AS position, encoder, revision, method, label, method_version, data, data_version,
            sample_id, sample_id.replace('/phrase', '') AS cluster, seed, status,
            if(status = 'failed', 0.1, least(1, greatest(0, skill + 0.5 * (random() - 0.5)))) AS value, 0.1 AS chance, reason,
            '{}' AS flags, run_id, created
            FROM explanations JOIN of_methods USING (label), of_boards""")


@contextmanager
def served(store: Path) -> Generator[tuple[str, int]]:
    """Serve a store and yield its address and the server's process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "benchmark", "site", "--store", str(store), "--port", str(port), "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).read()
                break
            except OSError:
                time.sleep(0.2)
        yield address, server.pid
    finally:
        server.terminate()
        server.wait(30)


def memory(process: int) -> dict[str, float]:
    """Return what a process holds now and held at most, in MB (Linux)."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    found = {line.split(":")[0]: float(line.split()[1]) / 1024 for line in lines if line.startswith(("VmRSS", "VmHWM"))}
    return {"now": round(found["VmRSS"]), "most": round(found["VmHWM"])}


def timed(action: Callable[[], Any]) -> float:
    """Return how many seconds something takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def drawn(page: Any, text: str) -> None:
    """Wait until ``text`` is on the page and the server has nothing left to draw."""
    page.get_by_text(text).first.wait_for()
    page.wait_for_selector(DONE)


def clicked(page: Any, target: Any, search: str) -> float:
    """Return the seconds from a click to the page drawn with what it chose, which is when ``search`` stands in the address.

    By the clock of the browser: from the event of the click to the first frame in which the server has nothing left to draw.
    """
    page.evaluate(WATCH, search)
    target.click()
    return page.evaluate("window.drawn") / 1000


def choose(page: Any, label: str, option: str, search: str) -> float:
    """Return the seconds from choosing an option to the page drawn with it."""
    page.get_by_label(label, exact=True).first.click()
    entry = page.get_by_role("option", name=option, exact=True)
    entry.wait_for()
    return clicked(page, entry, search)


def options(page: Any, label: str) -> list[str]:
    """Return what a select box offers."""
    page.get_by_label(label, exact=True).first.click()
    page.get_by_role("option").first.wait_for()
    found = page.get_by_role("option").all_inner_texts()
    page.keyboard.press("Escape")
    return found


def measure(root: str, process: int, say: Callable[..., None]) -> None:
    """Drive a browser through a site that nobody has opened before."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(120_000)

        def visit(name: str, text: str) -> float:
            return timed(lambda: (page.goto(f"{root}/{name}"), drawn(page, text)))

        say("first page, seconds", visit("leaderboard", "Look closer"))
        time.sleep(LOOKED)
        for label, key in (("Metric", "metric"), ("Task", "task")):
            offered = options(page, label)[:8]
            fresh = [choose(page, label, name, f"{key}={name}") for name in offered[1:]]
            say(f"{label.lower()}, each for the first time, seconds", fresh)
            again = [choose(page, label, name, f"{key}={name}") for name in offered[1:] * 2]
            say(f"{label.lower()}, again, seconds", again)
        page.get_by_text("Filters", exact=True).click()
        ranked = page.get_by_text("Only ranked")
        ranked.wait_for()
        page.wait_for_timeout(1_000)  # it opens slowly, and what is clicked while it moves is missed
        say("filter of methods, seconds", [clicked(page, ranked, search) for search in ("ranked=1", "!ranked") * 6])
        for name, text in (("samples", "Figure and arrays"), ("compare", "Quality against cost"), ("failures", "Scores")):
            say(f"{name}, first, seconds", visit(name, text))
            say(f"{name}, again, seconds", visit(name, text))
        page.goto(f"{root}/samples")
        drawn(page, "Figure and arrays")
        steps = [clicked(page, page.get_by_role("button", name="Next"), f"scenes%2F{i}%2F") for i in range(1, 8)]
        say("next sample, seconds", steps)
        browser.close()
    say("memory of the server, MB", memory(process))


def main() -> None:
    """Write the store, serve it and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    path = parser.parse_args().folder / "site_speed.duckdb"
    if not path.exists():
        print(json.dumps({"writing the store, seconds": round(timed(lambda: write(path, N_SAMPLES, N_METHODS, N_BOARDS)), 1)}))
    print(
        json.dumps({"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0]})
    )

    def say(name: str, value: float | list[float] | dict[str, float]) -> None:
        if isinstance(value, list) and value:
            value = {"median": round(statistics.median(value), 3), "most": round(max(value), 3), "n": len(value)}
        print(json.dumps({name: round(value, 2) if isinstance(value, float) else value}), flush=True)

    with served(path) as (root, process):
        measure(root, process, say)


if __name__ == "__main__":
    main()
