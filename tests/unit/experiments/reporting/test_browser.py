"""A real browser shows the page without a network: no error, no request, no empty figure."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PROBE = """<script>
addEventListener("load", () => {
  const sizes = [...document.images].map(i => [i.naturalWidth, i.clientWidth, i.clientHeight]);
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const fetched = performance.getEntriesByType("resource").map(e => e.name)
    .filter(name => !name.startsWith("data:"));
  document.body.dataset.seen = JSON.stringify({sizes, wide, fetched});
});
</script></body>"""
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


@pytest.fixture(scope="module")
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        reason = "there is no chromium here: apt-get install chromium"
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def opened(
    browser: str, page: Path, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Open a page with a profile of its own; whatever it asks the network for is refused."""
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--hide-scrollbars",
        f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr", "--log-level=0", *options, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)


def test_the_page_opens_offline_with_all_its_figures(
    browser: str, page: Path, tmp_path: Path
) -> None:
    watched = tmp_path / "watched.html"
    text = page.read_text()
    # The page forbids scripts; the copy that measures it may have the one that does.
    assert len(POLICY.findall(text)) == 1
    watched.write_text(POLICY.sub("", text).replace("</body>", PROBE))
    done = opened(browser, watched, tmp_path, "--window-size=1200,900", "--dump-dom")
    seen = re.search(r'data-seen="([^"]*)"', done.stdout)
    assert seen is not None, done.stderr
    found = json.loads(seen.group(1).replace("&quot;", '"'))
    assert len(found["sizes"]) == text.count("<figure ")
    assert len(found["sizes"]) >= 9
    assert all(min(size) > 100 for size in found["sizes"]), found["sizes"]
    assert found["fetched"] == []
    assert found["wide"] == 0  # tables scroll by themselves, the page does not
    assert console_errors(done.stderr) == []


def test_a_page_with_an_error_would_be_noticed(browser: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text(
        '<body><img src="https://example.invalid/x.png"><script>x.y()</script></body>'
    )
    done = opened(browser, broken, tmp_path, "--dump-dom")
    assert len(console_errors(done.stderr)) >= 1


@pytest.mark.parametrize("width", [1200, 600])
def test_the_page_as_it_stands_can_be_pictured(
    browser: str, page: Path, tmp_path: Path, width: int
) -> None:
    picture = tmp_path / "page.png"
    done = opened(browser, page, tmp_path, f"--window-size={width},2000", f"--screenshot={picture}")
    assert console_errors(done.stderr) == []
    with Image.open(picture) as image:
        assert image.width == width
        colours = image.convert("L").getcolors(256 * 256)
    assert colours is not None
    assert len(colours) > 50  # text and lines, not an empty sheet


def console_errors(log: str) -> list[str]:
    """What the page told its console; the browser's own trouble with the machine is no matter."""
    return [line for line in log.splitlines() if "CONSOLE" in line]
