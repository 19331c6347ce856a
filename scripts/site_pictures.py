"""Take the pictures of the site for the README: ``python scripts/site_pictures.py STORE`` writes ``docs/figures/site_*.png``.

STORE should hold many methods. ``--every FOLDER`` takes every page instead, at 390 and 1440 pixels, light and dark, to look at.
Needs playwright, and Debian's chromium.
"""

import argparse
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from site_speed import ARGUMENTS, CHROMIUM, DONE, served

from benchmark.site.links import PAGES, address

FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"
BEST: Mapping[str, tuple[str, int]] = {
    "site_leaderboard": (address("leaderboard", task="scenes-pointing"), 1250),
    "site_samples": (address("samples", methods=["fixlip", "exclip", "grad_eclip", "occlusion"], tokens="4"), 1150),
}
"""The address of each picture, and its height in pixels."""


def taken(browser: Any, at: str, width: int, height: int, scheme: str = "light") -> bytes:
    """Return a page as PNG once it is drawn whole."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.set_default_timeout(90_000)
    page.goto(at)
    page.wait_for_selector("h1")
    page.wait_for_selector(DONE)
    page.wait_for_timeout(3500)  # charts and frames draw themselves after the page
    found = page.screenshot()
    page.close()
    return found


def small(png: bytes) -> bytes:
    """Return a picture in 256 colours, a third of its size."""
    stream = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").quantize(256).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def main() -> None:
    """Serve the store and take the pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--every", type=Path)
    chosen = parser.parse_args()
    with served(chosen.store) as (root, _), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        if chosen.every is None:
            for name, (at, height) in BEST.items():
                (FIGURES / f"{name}.png").write_bytes(small(taken(browser, f"{root}/{at}", 1440, height)))
            return
        chosen.every.mkdir(parents=True, exist_ok=True)
        for name in PAGES:
            for width, scheme in ((1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")):
                png = taken(browser, f"{root}/{name}", width, 2400, scheme)
                (chosen.every / f"{name}_{width}_{scheme}.png").write_bytes(png)


if __name__ == "__main__":
    main()
