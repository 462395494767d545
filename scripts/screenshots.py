"""Make the pictures of ``docs/images``: pages that the commands write, in a headless chromium, 1,280 and 400 px wide.

    python scripts/screenshots.py           # all; names after it make only these

Needs chromium (``apt-get install chromium``), and ``atman-bench models pull smollm2-135m`` for the page of SmolLM2. The
pages show texts of ours, generated data, and Caltech photographs.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images"
PROMPT = "Ada Lovelace was born in London. Emmy Noether was born in Erlangen and taught in Göttingen. Emmy was born in"
PAGES: dict[str, tuple[list[str], dict[int, int]]] = {
    "explain-smollm2": (
        ["explain", "-m", "pulled:smollm2-135m", "-p", PROMPT, "-t", " Erlangen", "--html"],
        {1280: 460, 800: 440, 400: 640},
    ),
    "explain": (["explain", "--method", "atman,chefer,attention", "--html"], {1280: 560, 400: 900}),
    "report": (["report", "results/reproduce-tiny", "-o"], {1280: 1000, 400: 1000}),
    "browse": (["browse", "results/tiny-text-facts", "-o"], {1280: 800, 400: 900}),
}
"""Name -> the command, which is given the page's path, and the height of the picture at each width."""


def shoot(page: Path, picture: Path, width: int, height: int) -> None:
    """Take a picture of the top of a page.

    Args:
        page: An HTML file.
        picture: The PNG that is written.
        width: Of the page's viewport, in pixels.
        height: The same.
    """
    with tempfile.TemporaryDirectory() as folder:
        # A window cannot be as narrow as a telephone, a frame can.
        frame = Path(folder) / "frame.html"
        style = f"border:0;width:{width}px;height:{height}px"
        frame.write_text(f'<body style="margin:0"><iframe src="{page.as_uri()}" style="{style}"></iframe>')
        taken = Path(folder) / "taken.png"
        subprocess.run(
            [
                "chromium",
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                f"--window-size={max(width, 600)},{height + 200}",
                f"--screenshot={taken}",
                frame.as_uri(),
            ],
            check=True,
            capture_output=True,
        )
        with Image.open(taken) as image:
            image.crop((0, 0, width, height)).convert("RGB").save(picture, optimize=True)


def scene(picture: Path) -> None:
    """Write the first picture of the dataset ``scenes``."""
    from atman_bench.datasets import DATASETS

    spec = DATASETS.get("scenes")
    first = spec.load(spec.config()).samples[0].picture
    assert first is not None  # every scene has one
    with Image.open(first.path) as image:
        image.save(picture, optimize=True)


def main() -> None:
    """Make the pages and take their pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *PAGES], help="which pages; default: all")
    names = parser.parse_args().names or list(PAGES)
    OUT.mkdir(exist_ok=True)
    scene(OUT / "scene.png")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            command, sizes = PAGES[name]
            page = Path(folder) / f"{name}.html"
            subprocess.run([sys.executable, "-m", "atman_bench.cli.app", *command, str(page)], check=True, cwd=ROOT)
            for width, height in sizes.items():
                shoot(page, OUT / f"{name}-{width}.png", width, height)
                print(OUT / f"{name}-{width}.png")


if __name__ == "__main__":
    main()
