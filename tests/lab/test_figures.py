"""Each measured figure of the documents below is one of a committed results file, named with its condition.

A fragment (docs/method/figures.txt) is what a document says with the results in braces: a changed results file or a
changed sentence fails. What looks like a figure and is in no fragment, and in no row of the table of arms, fails too.
"""

import json
import re
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from types import SimpleNamespace as Facts
from typing import Any

import pytest

from likeness_api.tuning import ResolvedTuning
from likeness_lab.bench import method, summary
from likeness_runtime.method.contrastive import Strength
from likeness_runtime.method.from_encoder import ENCODER_TIME_SHARES
from likeness_runtime.pretrain.pretrain import EncoderPlan

ROOT = Path(__file__).parents[2]
METHOD = ROOT / "docs/method"
CARD = "runtime/likeness_runtime/pocket/encoder/README.md"
FIGURE = re.compile(r"[-+]?\d+\.\d{2,}|\d ?(?:\u00d7|(?:times|x|s|ms|seconds|[kMG]B)\b|%(?! interval))|\d+(?:,\d{3})+")
"""Two decimals or more, multiples, seconds, bytes, percent, thousands."""
VERSION = r"(?:Python|Kubernetes|SeaweedFS) \d(?:[\d., ]|to|or|and)*"
NO_FIGURE = re.compile(rf"```.*?```|`[^`]*`|\]\([^)]*\)|arXiv:[\d.]+|{VERSION}", re.DOTALL)
"""Commands, addresses, papers' and versions' numbers."""
TABLE = (
    "| arm | steps | told | drawn by | harmonic | identity | fidelity | rows | seconds"
    " | ours at 12 steps minus it, 95 % interval |"
)
DRAWN_BY = {"our loader": "untouched", "stock": "stock", "either": "stock"}
"""As the documents call a drawing; what learned nothing is the same in both."""


def fragments() -> dict[str, list[str]]:
    """By document."""
    parts = (METHOD / "figures.txt").read_text().split("\n# ")[1:]
    return {lines[0]: [line for line in lines[1:] if line] for lines in (part.splitlines() for part in parts)}


FRAGMENTS = fragments()


def named(folder: str, part: str = "rows") -> dict[str, Facts]:
    """By arm, steps, telling and drawing, and kind where the subjects are not the usual ones."""
    found = {}
    for row in json.loads((METHOD / folder / "results.json").read_text())[part]:
        kind = "" if row["kind"] == "fluent" else f" {row['kind']}"
        found[" ".join(str(each) for each in row["condition"].values()) + kind] = Facts(**row)
    return {name: with_text(each) for name, each in found.items()} if part == "differences" else found


def with_text(difference: Facts) -> Facts:
    text = f"{difference.harmonic:+.3f} ({difference.low:+.3f} … {difference.high:+.3f})"
    return Facts(**vars(difference), text=text)


def shapes() -> dict[str, Facts]:
    found = {}
    for each in json.loads((METHOD / "shapes.json").read_text())["accounts"]:
        blended, single = each["fits"]
        assert blended["rows_on"] == single["rows_on"]
        found[each["name"]] = Facts(
            **each,
            encoder=each["encoder_parameters"] / 1e6,
            weights=each["weight_bytes"] / 1e9,
            blended=blended["saved_bytes_of_one_row"] / 1e9,
            single=single["saved_bytes_of_one_row"] / 1e9,
            rows_on=blended["rows_on"],
            rows=" | ".join(str(count) for count in blended["rows_on"].values()),
            smallest=next(gpu for gpu, count in blended["rows_on"].items() if count),
        )
    return found


@pytest.fixture(scope="module")
def results() -> dict[str, object]:
    return gathered()


def gathered() -> dict[str, object]:
    """What a fragment may name."""
    tuning = ResolvedTuning()
    log = (ROOT / CARD).with_name("pretrain.log.jsonl").read_text().splitlines()
    return {
        "now": named(""),
        "less": named("", "differences"),
        "setting": json.loads((METHOD / "results.json").read_text())["setting"],
        "sweep": named("sweep"),
        "sweep_less": named("sweep", "differences"),
        "twice": named("contexts-twice"),
        "blend": named("alpha-0.8"),
        "rates": {path.parent.name: named(str(path.parent)) for path in METHOD.glob("rates/*/results.json")},
        "contexts": contexts(),
        "meaning": meaning(),
        "step": {str(cost["alpha"]): Facts(**cost) for cost in json.loads((METHOD / "step.json").read_text())["costs"]},
        "shapes": shapes(),
        "gpus": " | ".join(shapes()["SDXL"].rows_on),
        "encoder": Facts(**json.loads(log[-1])),
        "strength": Strength(),
        "tuning": tuning,
        "rate": f"{float(tuning.learning_rate) * 1e3:g}e-3",
        "word_rate": f"{float(tuning.embedding_learning_rate) * 1e3:g}e-3",
        "shares": ", ".join(str(share) for share in ENCODER_TIME_SHARES),
        "plan": EncoderPlan(steps=1),
    }


def plain(document: str) -> str:
    return " ".join((ROOT / document).read_text().split())


def contexts() -> dict[str, Facts]:
    """By the number of phrases and the margin."""
    lists = json.loads((METHOD / "contexts.json").read_text())
    return {f"{each['phrases']} {at['margin']}": Facts(**each, **at) for each in lists for at in each["at"]}


def meaning() -> dict[str, Facts]:
    """The means of each number of steps, and what is said of predictions alone."""
    report = json.loads((METHOD / "semantics.json").read_text())
    of_steps: dict[str, list[dict[str, float]]] = {}
    for each in report.pop("meanings"):
        of_steps.setdefault(str(each.pop("steps")), []).append({k: v for k, v in each.items() if k != "subject"})
    found = {
        f"{steps} steps": Facts(
            **{name: mean(each[name] for each in all_of) for name in all_of[0]}, subjects=len(all_of)
        )
        for steps, all_of in of_steps.items()
    }
    return found | {"predicted": Facts(**report)}


def row_of(condition: list[str], results: dict[str, dict[str, Facts]]) -> str:
    """The table's line for one condition: arm, steps, told, drawn by."""
    *first, drawn_by = condition
    key = " ".join([*first, DRAWN_BY[drawn_by]])
    row, less = results["now"][key], results["less"].get(key)
    figures = f"{row.harmonic:.3f} | {row.identity:.3f} | {row.fidelity:.3f} | {row.rows} | {row.seconds:.2f}"
    return f"| {' | '.join(condition)} | {figures} | {less.text if less else ''} |".replace("|  |", "| |")


def test_the_table_of_arms_is_that_of_the_results(results: dict[str, dict[str, Facts]]) -> None:
    table = (ROOT / "docs/method.md").read_text().partition(TABLE)[2].partition("\n\n")[0].splitlines()[2:]
    conditions = [[cell.strip() for cell in line.split("|")[1:5]] for line in table]
    assert ["ours", "12", "recognised", "our loader"] in conditions
    assert table == [row_of(each, results) for each in conditions]


@pytest.mark.parametrize(
    ("document", "fragment"), [(name, each) for name, all_of in FRAGMENTS.items() for each in all_of]
)
def test_a_figure_is_that_of_the_results(document: str, fragment: str, results: dict[str, object]) -> None:
    assert fragment.format(**results) in plain(document)


@pytest.mark.parametrize("document", ["README.md", "docs/method.md"])
def test_no_figure_stands_without_results(document: str, results: dict[str, object]) -> None:
    text = (ROOT / document).read_text()
    before, header, after = text.partition(TABLE)
    text = " ".join((before + after[after.index("\n\n") :] if header else text).split())
    for fragment in sorted((each.format(**results) for each in FRAGMENTS[document]), key=len, reverse=True):
        text = text.replace(fragment, "")
    assert FIGURE.findall(NO_FIGURE.sub("", text)) == []


@pytest.mark.parametrize("fragment", [each for all_of in FRAGMENTS.values() for each in all_of])
def test_a_fragments_own_figures_are_conditions(fragment: str) -> None:
    """What stands outside of the braces was measured nowhere; it may be a learning rate in the key of what was."""
    keys = "".join(re.findall(r"{.*?}", fragment))
    assert [figure for figure in FIGURE.findall(re.sub(r"{.*?}", "", fragment)) if figure not in keys] == []


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in METHOD.rglob("records.jsonl")}), ids=lambda path: path.name
)
def test_results_are_those_of_the_records(folder: Path) -> None:
    records = method.read_records(folder)
    facts: dict[str, list[Any]] = {"rows": summary.rows(records), "differences": summary.differences(records)}
    told = json.dumps({part: [asdict(each) for each in of_all] for part, of_all in facts.items()})
    kept = rounded((folder / "results.json").read_text())
    assert kept | rounded(told) == kept


def rounded(text: str) -> dict[str, Any]:
    """Another processor adds up in another order."""
    content: dict[str, object] = json.loads(text, parse_float=lambda digits: round(float(digits), 9))
    return content


def test_every_results_file_says_how_it_was_made() -> None:
    page = (METHOD / "README.md").read_text()
    made = [path.relative_to(METHOD).as_posix() for path in METHOD.rglob("*.json")]
    assert [name for name in made if f"`{name}`" not in page] == []


@pytest.mark.parametrize("figure", ["0.406", "-0.03", "22 times", "1.4 \u00d7", "31 s", "16 GB", "12 %", "99,200"])
def test_what_looks_like_a_figure_is_one(figure: str) -> None:
    assert FIGURE.findall(f"It is {figure}, they say.")
