import re
from pathlib import Path

from likeness_api.reason import Reason

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"


def test_the_troubleshooting_page_explains_every_reason_once() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(explained) == sorted(Reason)
