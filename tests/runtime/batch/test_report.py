"""The report's page: hostile text stays text, and in a browser it is quick and says no error."""

from __future__ import annotations

import json
import random
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from browser import Page, chromium
from likeness_api.personalization_batch import Counts
from likeness_runtime.batch.collect import Tally
from likeness_runtime.batch.report import MOST_ROWS, ReportFacts, report_page, throughput
from likeness_runtime.batch.result_line import Outcome, ResultLine

HOSTILE = "</script><img src=x onerror=alert(1)>{{script}}{{style}}"


def lines(count: int, folder: str = "file:///out/shop") -> list[ResultLine]:
    draw, start = random.Random(7), datetime(2026, 11, 26, 22, tzinfo=UTC)  # noqa: S311
    made = []
    for number in range(1, count + 1):
        if number % 40 == 3:
            made.append(
                ResultLine(
                    line=number, id=f"bad {number}", outcome=Outcome.FAILED, reason="ImageUnreadable", message=HOSTILE
                )
            )
            continue
        digest = f"{number:064x}"
        made.append(
            ResultLine(
                line=number,
                id=f"SKU_{number}",
                outcome=Outcome.SUCCEEDED,
                reason="Tuned",
                message="tuned",
                end_time=(start + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ"),
                digest=digest,
                folder=f"{folder}/SKU_5f{number}/{digest}/",
                previews=["previews/input.png", "previews/00.png"],
                metrics={"lossAfter": f"{draw.uniform(0.05, 0.4):.4f}"},
            )
        )
    return made


def page_of(made: list[ResultLine]) -> bytes:
    tally = Tally()
    for line in made:
        tally.add(line)
    return report_page(ReportFacts("shop/autumn", 1, tally.counts(len(made)), tally.failures(), 60.0), made)


def test_what_strangers_wrote_is_data_and_nothing_else() -> None:
    text = page_of(lines(10)).decode()
    assert text.count("</script>") == 2
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(data)["rows"][2]["message"] == HOSTILE


def test_a_page_without_subjects() -> None:
    text = report_page(ReportFacts("a/b", 1, Counts(), [], 0.0), []).decode()
    assert "Nothing was worked on." in text


def test_a_page_has_no_more_than_a_browser_takes() -> None:
    (row,) = lines(1)
    text = report_page(ReportFacts("a/b", 1, Counts(), [], 0.0), (row for _ in range(MOST_ROWS + 1))).decode()
    assert f"The first {MOST_ROWS:,} of {MOST_ROWS + 1:,} subjects" in text
    assert text.count('"line":1,') == MOST_ROWS


def test_throughput_counts_everybody_once() -> None:
    start = datetime(2026, 11, 26, tzinfo=UTC)
    counts = throughput([start + timedelta(seconds=number) for number in range(1000)])["counts"]
    assert len(counts) == 120
    assert sum(counts) == 1000


async def shown(page: Page, script: str) -> list[str]:
    found: list[str] = await page.evaluate(f"[...document.querySelectorAll('{script}')].map(each => each.textContent)")
    return found


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """10,000 subjects in a folder, with the pictures that the first of them show."""
    made = lines(10_000)
    for line in made[:200]:
        for name in line.previews:
            assert line.folder is not None
            picture = tmp_path / "shop" / line.folder.removeprefix("file:///out/shop/") / name
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64), (line.line % 256, 120, 80)).save(picture)
    path = tmp_path / "shop" / ".batches" / "autumn" / "1" / "report.html"
    path.parent.mkdir(parents=True)
    path.write_bytes(page_of(made))
    return path


@pytest.mark.browser
@pytest.mark.parametrize("width", [1400, 400])
async def test_in_a_browser(report: Path, tmp_path: Path, width: int) -> None:
    async with chromium(tmp_path / "profile", width=width) as page:
        started = time.monotonic()
        await page.open(f"file://{report}")
        await page.until("document.querySelector('#gallery img')?.naturalWidth > 0")
        print(f"\n10,000 subjects, {width} px: the first picture after {time.monotonic() - started:.2f} s")  # noqa: T201
        assert (await shown(page, "#found")) == ["10,000 of 10,000"]
        assert len(await shown(page, "#gallery li")) < 400
        await page.screenshot(tmp_path / f"report-{width}.png")

        async def give(name: str, value: str) -> None:
            field = f"document.getElementById('{name}')"
            await page.evaluate(
                f"{field}.value = '{value}'; {field}.dispatchEvent(new Event('input', {{bubbles: true}}))"
            )

        await give("query", "sku_77")
        assert (await shown(page, "#gallery .id"))[:3] == ["SKU_77", "SKU_770", "SKU_771"]
        await give("query", "")
        await give("reason", "ImageUnreadable")
        assert (await shown(page, "#found")) == ["250 of 10,000"]
        assert HOSTILE in (await shown(page, "#gallery .facts"))[1]
        assert await page.evaluate("location.hash") == "#reason=ImageUnreadable"
        await give("reason", "everything")
        await give("sort", "lossAfter")
        losses = [float(text.split()[-1]) for text in (await shown(page, "#gallery .facts"))[:50]]
        assert losses == sorted(losses)
        assert not await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        missing = [complaint for complaint in page.complaints if "ERR_FILE_NOT_FOUND" not in complaint]
        assert missing == []
