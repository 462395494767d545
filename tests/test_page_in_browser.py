"""The pages in a browser: clicks, keys and filters do what they say. Runs where chromium is installed."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_heatmap import HEAT, JOINT

from atman_bench.report.browse import Browsed, browse_page
from atman_bench.report.heatmap_page import to_html

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [pytest.mark.skipif(BROWSER is None, reason="no chromium here"), pytest.mark.slow]


def after(page: str, script: str, folder: Path) -> object:
    """What a script that runs after the page's own gives."""
    file = folder / "page.html"
    ending = f"<script>document.title = JSON.stringify((() => {{ {script} }})());</script></body>"
    file.write_text(page.replace("</body>", ending))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--window-size=1280,900"]
    done = subprocess.run(
        [*command, f"--user-data-dir={folder / 'profile'}", file.as_uri()], capture_output=True, text=True, timeout=60
    )
    title = done.stdout.partition("<title>")[2].partition("</title>")[0]
    return json.loads(title.replace("&quot;", '"').replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


def test_a_click_or_an_arrow_shows_another_token_and_words_add_up(tmp_path):
    script = """
    const colour = (index) => getComputedStyle(document.querySelectorAll(".text span")[index]).backgroundColor;
    const title = () => document.getElementById("title").textContent;
    const seen = [title(), colour(0)];
    document.getElementById("map-1").click();
    seen.push(title(), colour(1));
    document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
    seen.push(title());
    document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
    seen.push(title(), document.querySelectorAll(".text")[0].textContent);
    return seen;
    """
    first, white, one, red, two, again, text = after(to_html([("atman", HEAT)]), script, tmp_path)
    assert (first, again) == ("target “the cat” (mean over its tokens)",) * 2
    assert white == "rgb(255, 255, 255)"
    assert (one, two) == ("target token 1 “the”", "target token 2 “cat”")
    assert red == "rgb(214, 47, 39)"
    assert text == "The <b>cat</b> & dog.↵\nQ: who?"


def test_a_switch_shows_another_method_and_noise_says_so(tmp_path):
    quiet = replace(HEAT, caption="tiny-text · quiet", scores=HEAT.scores * 1e-9, per_target=None, noise=1e-6)
    script = """
    const select = document.getElementById("method");
    select.value = "1";
    select.dispatchEvent(new Event("change"));
    return [document.querySelector("h1").textContent, document.querySelector(".says").textContent];
    """
    caption, says = after(to_html([("atman", HEAT), ("quiet", quiet)]), script, tmp_path)
    assert caption == "tiny-text · quiet"
    assert "Nothing moves this" in says


def test_patches_are_drawn_over_their_image(tmp_path):
    script = """
    const canvas = document.querySelector("canvas"), pen = canvas.getContext("2d");
    const at = (x, y) => Array.from(pen.getImageData(x * canvas.width / 80, y * canvas.height / 40, 1, 1).data);
    return [at(40, 10), at(60, 30), at(20, 10), at(2, 2)];
    """
    red, blue, nothing, outside = after(to_html([("atman", JOINT)]), script, tmp_path)
    assert red[0] > red[2] and red[3] > 150
    assert blue[2] > blue[0] and blue[3] > 150
    assert nothing[3] == outside[3] == 0


def browsed(number: int) -> Browsed:
    heat = replace(HEAT, per_target=None, scores=np.roll(HEAT.scores, number), evidence=np.array([0, 1, 0, 0.0]))
    values = {"atman": {"average_precision": number / 100}, "uniform": {"average_precision": 0.5}}
    return Browsed(f"s{number}", "g", f" answer{number}", number % 2 == 0, {"atman": heat, "uniform": heat}, values, {})


def test_samples_are_sorted_and_filtered_and_only_rows_in_sight_exist(tmp_path):
    page = browse_page("t", ["atman", "uniform"], ["uniform"], ["average_precision"], map(browsed, range(100)))
    script = """
    const set = (id, value, event) => {
      const made = document.getElementById(id);
      made.value = value;
      made.dispatchEvent(new Event(event));
    };
    const seen = [".row", ".maps section", ".evidence"].map((found) => document.querySelectorAll(found).length);
    set("sort", "0", "change");
    document.getElementById("up").click();
    seen.push(document.querySelector(".row .what span").textContent);
    set("answered", "false", "change");
    seen.push(document.getElementById("count").textContent);
    set("search", "answer42", "input");
    seen.push(document.getElementById("count").textContent);
    set("answered", "all", "change");
    seen.push(document.getElementById("count").textContent, document.getElementById("title").textContent);
    return seen;
    """
    rows, sections, outlined, highest, unanswered, none, one, title = after(page, script, tmp_path)
    assert 0 < rows < 40
    assert (sections, outlined) == (1, 1)  # baselines are off at first
    assert highest == "→ answer99"
    assert (unanswered, none, one) == ("50 of 100", "0 of 100", "1 of 100")
    assert title == "→ answer42"
