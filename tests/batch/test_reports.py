"""The reports of `check`: verdicts to text, JSON, JUnit, SARIF and GitHub, with hostile names.

The SARIF schema is the one of schemastore.org (2.1.0-rtm.5), as the npm package
@microsoft/jest-sarif (MIT) has it; the JUnit schema is Jenkins' (MIT), as pytest's source
distribution has it.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import jsonschema
import pytest
import xmlschema
from conftest import DATA
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nirtorch_cli.batch.reports.github import github_report
from nirtorch_cli.batch.reports.junit import junit_report
from nirtorch_cli.batch.reports.sarif import sarif_report
from nirtorch_cli.batch.reports.text import text_report
from nirtorch_cli.batch.task import Assessment
from nirtorch_cli.batch.verdict import Policy, Verdict, exit_code, judge, summary, summary_line
from nirtorch_cli.cli.check_report import json_report
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.rules import load_rules

SARIF = jsonschema.Draft4Validator(json.loads((DATA / "sarif-schema-2.1.0.json").read_text()))
JUNIT = xmlschema.XMLSchema10(str(DATA / "junit-10.xsd"))
FOLDER = Path("/checkout").absolute()

WARNING = Finding("NIR106", "warning", "no edge leads to it", "lif")
INFO = Finding("NIR012", "info", "is not in the file; taken as 0", "lif", "v_reset")
MENDED = Finding(
    "NIR202", "warning", "declares (1, 2)", "out", "shape", "taken as (2,)", repair="stale-shape"
)
ERROR = Finding("NIR402", "error", "dt is too long", "lif", "tau", "choose a shorter --dt")
STOPPED = Finding("NIR101", "error", "2 edges lead to 'x'", hint="is it meant?")
UNREADABLE = Finding("NIR001", "error", "no such file")
CRASHED = Finding("NIR613", "error", "the process that examined it died")

SOUND = Assessment("a/sound.nir", (INFO,), seconds=0.25)
WARNED = Assessment("a/warned.nir", (WARNING, INFO))
REPAIRED = Assessment("a/repaired.nir", (INFO, MENDED))
DIVERGING = Assessment("a/diverging.nir", (WARNING, ERROR))
BROKEN = Assessment("a/broken.nir", (INFO,), (STOPPED,), 1, 1.5)
MISSING = Assessment("no.nir", (), (UNREADABLE,), 3)
DEAD = Assessment("a/dead.nir", (), (CRASHED,), 1)
ALL = (SOUND, WARNED, REPAIRED, DIVERGING, BROKEN, MISSING, DEAD)


def judged(*assessments: Assessment, **policy: object) -> list[Verdict]:
    return [judge(assessment, Policy(**policy)) for assessment in assessments]  # type: ignore[arg-type]


# ---------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("assessment", "word", "code", "strict_code"),
    [
        (SOUND, "sound", 0, 0),
        (WARNED, "sound", 0, 1),
        (REPAIRED, "repaired", 0, 1),
        (DIVERGING, "broken", 1, 1),
        (BROKEN, "broken", 1, 1),
        (MISSING, "broken", 3, 3),
        (DEAD, "broken", 1, 1),
    ],
)
def test_verdicts(assessment: Assessment, word: str, code: int, strict_code: int) -> None:
    (verdict,) = judged(assessment)
    (strict,) = judged(assessment, strict=True)
    assert (verdict.word, verdict.exit_code, verdict.passed) == (word, code, code == 0)
    assert (strict.word, strict.exit_code) == (word, strict_code)
    assert {finding.file for finding in verdict.findings} <= {assessment.file}


def test_errors_come_first() -> None:
    (verdict,) = judged(Assessment("a", (INFO, WARNING, ERROR), (STOPPED,), 1))
    assert [f.code for f in verdict.findings] == ["NIR101", "NIR402", "NIR106", "NIR012"]


@pytest.mark.parametrize(
    ("policy", "word", "codes"),
    [
        ({"ignore": ("NIR4",)}, "sound", ["NIR106"]),
        ({"ignore": ("NIR402", "NIR1")}, "sound", []),
        ({"select": ("NIR1",)}, "sound", ["NIR106"]),
        ({"select": ("NIR402",)}, "broken", ["NIR402"]),
        ({"select": ("NIR",), "ignore": ("NIR4",)}, "sound", ["NIR106"]),
        ({"select": ("NIR402",), "ignore": ("NIR4",)}, "broken", ["NIR402"]),
    ],
)
def test_what_is_ignored_does_not_count(
    policy: dict[str, object], word: str, codes: list[str]
) -> None:
    (verdict,) = judged(DIVERGING, **policy)
    assert (verdict.word, [finding.code for finding in verdict.findings]) == (word, codes)


@pytest.mark.parametrize("assessment", [BROKEN, MISSING, DEAD])
@pytest.mark.parametrize("policy", [{"ignore": ("NIR",)}, {"select": ("NIR999",)}])
def test_what_stops_the_examination_is_never_ignored(
    assessment: Assessment, policy: dict[str, object]
) -> None:
    (verdict,) = judged(assessment, **policy)
    assert verdict.word == "broken"
    assert verdict.exit_code == assessment.exit_code
    assert [f.code for f in verdict.findings] == [f.code for f in assessment.obstacles]


def test_a_repair_that_is_ignored_was_made_all_the_same() -> None:
    (verdict,) = judged(REPAIRED, ignore=("NIR202",), strict=True)
    assert (verdict.word, verdict.findings, verdict.passed) == (
        "repaired",
        (INFO.of("a/repaired.nir"),),
        True,
    )


def test_the_exit_code_is_the_highest() -> None:
    assert exit_code([]) == 0
    assert exit_code(judged(SOUND, WARNED)) == 0
    assert exit_code(judged(BROKEN, SOUND)) == 1
    assert exit_code(judged(MISSING, BROKEN)) == 3


def test_the_summary() -> None:
    assert summary(judged(*ALL)) == {
        "files": 7,
        "sound": 2,
        "repaired": 1,
        "broken": 4,
        "failed": 4,
    }
    assert summary_line(judged(SOUND)) == "1 file: 1 sound"
    assert summary_line(judged(*ALL)) == "7 files: 2 sound, 1 repaired, 4 broken"
    strict = judged(*ALL, strict=True)
    assert summary_line(strict) == "7 files: 2 sound, 1 repaired, 4 broken; 6 failed"


# -------------------------------------------------------------------------------- text


def test_text() -> None:
    assert text_report(judged(SOUND)) == "1 file: 1 sound\n"
    assert text_report(judged(SOUND, REPAIRED, BROKEN)) == (
        "a/repaired.nir: repaired\n"
        "  NIR202 warning  node 'out', shape: declares (1, 2); taken as (2,) [stale-shape]\n"
        "  NIR012 info     node 'lif', v_reset: is not in the file; taken as 0\n"
        "a/broken.nir: broken\n"
        "  NIR101 error    2 edges lead to 'x'; is it meant?\n"
        "  NIR012 info     node 'lif', v_reset: is not in the file; taken as 0\n"
        "3 files: 1 sound, 1 repaired, 1 broken\n"
    )


def test_quiet_text() -> None:
    assert text_report(judged(SOUND, WARNED, REPAIRED), quiet=True) == ""
    assert text_report(judged(SOUND, WARNED, BROKEN), quiet=True) == (
        "a/broken.nir: broken\n"
        "  NIR101 error    2 edges lead to 'x'; is it meant?\n"
        "3 files: 2 sound, 1 broken\n"
    )


def test_a_failure_for_a_warning_is_told() -> None:
    for quiet in (False, True):
        text = text_report(judged(WARNED, strict=True), quiet=quiet)
        assert text.startswith("a/warned.nir: sound, fails for a warning\n  NIR106 warning ")


def test_colours_change_nothing_else() -> None:
    painted = text_report(judged(*ALL), paint=lambda text, kind: f"<{kind}>{text}</>")
    assert "<broken>broken</>" in painted
    assert "<error>error  </>" in painted
    assert re.sub(r"<[^>]*>", "", painted) == text_report(judged(*ALL))


# -------------------------------------------------------------------------------- JSON


def test_json() -> None:
    document = json.loads(json_report(judged(*ALL)))
    assert document["schema_version"] == 1
    assert document["command"] == "check"
    assert (document["ok"], document["exit_code"]) == (False, 3)
    files = document["result"]["files"]
    assert [file["verdict"] for file in files] == [v.word for v in judged(*ALL)]
    assert [file["exit_code"] for file in files] == [0, 0, 0, 1, 1, 3, 1]
    assert document["findings"] == [f for file in files for f in file["findings"]]
    assert document["result"]["summary"] == summary(judged(*ALL))
    assert files[2]["findings"][0] == {**MENDED.to_json(), "file": "a/repaired.nir"}


# ------------------------------------------------------------------------------- JUnit


def cases(report: str) -> dict[str, ElementTree.Element]:
    JUNIT.validate(io.StringIO(report))
    root = ElementTree.fromstring(report)
    return {case.attrib["name"]: case for case in root.iter("testcase")}


def test_junit() -> None:
    report = junit_report(judged(*ALL))
    found = cases(report)
    assert {name: [child.tag for child in case] for name, case in found.items()} == {
        "a/sound.nir": ["system-out"],
        "a/warned.nir": ["system-out"],
        "a/repaired.nir": ["system-out"],
        "a/diverging.nir": ["failure"],
        "a/broken.nir": ["failure"],
        "no.nir": ["error"],
        "a/dead.nir": ["error"],
    }
    failure = found["a/broken.nir"][0]
    assert failure.attrib == {"type": "NIR101", "message": "2 edges lead to 'x'; is it meant?"}
    assert failure.text == (
        "NIR101 error: 2 edges lead to 'x'; is it meant?\n"
        "NIR012 info: node 'lif', v_reset: is not in the file; taken as 0"
    )
    suite = ElementTree.fromstring(report)[0].attrib
    assert suite == {
        "name": "nirtorch check",
        "tests": "7",
        "failures": "2",
        "errors": "2",
        "time": "1.750",
    }


def test_junit_of_a_strict_failure() -> None:
    (case,) = cases(junit_report(judged(WARNED, strict=True))).values()
    assert case[0].tag == "failure"
    assert case[0].attrib["type"] == "NIR106"


def test_the_junit_schema_refuses_what_is_none() -> None:
    report = junit_report(judged(*ALL))
    for wrong in (report.replace("failure", "fail"), report.replace(' name="no.nir"', "")):
        with pytest.raises(xmlschema.XMLSchemaValidationError):
            JUNIT.validate(io.StringIO(wrong))


# ------------------------------------------------------------------------------- SARIF


def run_of(report: str) -> dict[str, object]:
    document = json.loads(report)
    SARIF.validate(document)
    (run,) = document["runs"]
    return run


def sarif(*verdicts: Verdict) -> dict[str, object]:
    return run_of(sarif_report(verdicts, folder=FOLDER, exit_code=exit_code(verdicts)))


def test_sarif() -> None:
    run = sarif(*judged(REPAIRED))
    driver = run["tool"]["driver"]
    assert driver["name"] == "nirtorch"
    assert [rule["id"] for rule in driver["rules"]] == list(load_rules())
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 0}]
    repaired, _ = run["results"]
    assert driver["rules"][repaired["ruleIndex"]]["id"] == repaired["ruleId"] == "NIR202"
    assert repaired["level"] == "warning"
    assert repaired["message"] == {"text": "declares (1, 2); taken as (2,)"}
    assert repaired["properties"] == {"repair": "stale-shape"}
    (location,) = repaired["locations"]
    assert location["physicalLocation"]["artifactLocation"] == {
        "uri": "a/repaired.nir",
        "uriBaseId": "%SRCROOT%",
    }
    assert location["physicalLocation"]["region"] == {"startLine": 1}
    assert location["logicalLocations"] == [
        {"name": "shape", "fullyQualifiedName": "out.shape", "kind": "member"}
    ]


def test_a_rule_in_sarif() -> None:
    rules = {rule["id"]: rule for rule in sarif()["tool"]["driver"]["rules"]}
    rule = rules["NIR202"]
    assert rule["name"] == "StaleShape"
    assert rule["shortDescription"]["text"] == load_rules()["NIR202"].summary
    assert rule["help"]["text"] == load_rules()["NIR202"].explanation
    assert rule["defaultConfiguration"] == {"level": "warning"}


def test_levels_exit_code_and_fingerprints_in_sarif() -> None:
    run = sarif(*judged(*ALL))
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 3}]
    assert {r["ruleId"]: r["level"] for r in run["results"]} == {
        "NIR001": "error",
        "NIR012": "note",
        "NIR101": "error",
        "NIR106": "warning",
        "NIR202": "warning",
        "NIR402": "error",
        "NIR613": "error",
    }
    other = sarif(*judged(Assessment("a", (WARNING, INFO, ERROR))))["results"]
    hashes = [r["partialFingerprints"]["primaryLocationLineHash"] for r in other]
    assert len(set(hashes)) == 3
    assert sarif(*judged(Assessment("a", (WARNING, INFO, ERROR))))["results"] == other


@pytest.mark.parametrize(
    ("file", "uri"),
    [
        ("a b.nir", "a%20b.nir"),
        ("./x/../y.nir", "y.nir"),
        ("a:b#c?d%e.nir", "a%3Ab%23c%3Fd%25e.nir"),
        ("\udcff.nir", "%FF.nir"),
        ("é.nir", "%C3%A9.nir"),
        ("<stdin>", "%3Cstdin%3E"),
        ("..nir", "..nir"),
        (str(FOLDER / "in" / "a.nir"), "in/a.nir"),
        ("../up.nir", (FOLDER.parent / "up.nir").as_uri()),
        (str(FOLDER.parent / "el se.nir"), (FOLDER.parent / "el se.nir").as_uri()),
    ],
)
def test_files_in_sarif(file: str, uri: str) -> None:
    (result,) = sarif(*judged(Assessment(file, (ERROR,))))["results"]
    place = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"] == uri
    assert ("uriBaseId" in place) == (not uri.startswith("file:"))


def test_a_message_in_sarif_is_no_link_and_no_placeholder() -> None:
    finding = Finding("NIR106", "warning", "'{0}' [click](https://example.org)")
    (result,) = sarif(*judged(Assessment("a", (finding,))))["results"]
    assert result["message"]["text"] == "'{{0}}' [click\\](https://example.org)"


def test_a_code_that_is_in_no_table() -> None:
    (result,) = sarif(*judged(Assessment("a", (Finding("NIR999", "info", "new"),))))["results"]
    assert result["ruleId"] == "NIR999"
    assert "ruleIndex" not in result


def test_the_sarif_schema_refuses_what_is_none() -> None:
    document = json.loads(sarif_report(judged(BROKEN), folder=FOLDER, exit_code=1))
    del document["runs"][0]["results"][0]["message"]
    with pytest.raises(jsonschema.ValidationError, match="message"):
        SARIF.validate(document)


# ------------------------------------------------------------------------------ GitHub


def test_github() -> None:
    assert github_report(judged(SOUND)) == "1 file: 1 sound\n"
    assert github_report(judged(SOUND, REPAIRED, BROKEN)) == (
        "::warning file=a/repaired.nir,title=NIR202 stale-shape::node 'out', shape: "
        "declares (1, 2); taken as (2,) [stale-shape]\n"
        "::notice file=a/repaired.nir,title=NIR012 default-taken::node 'lif', v_reset: "
        "is not in the file; taken as 0\n"
        "::error file=a/broken.nir,title=NIR101 dangling-edge::2 edges lead to 'x'; is it meant?\n"
        "::notice file=a/broken.nir,title=NIR012 default-taken::node 'lif', v_reset: "
        "is not in the file; taken as 0\n"
        "3 files: 1 sound, 1 repaired, 1 broken\n"
    )


def test_what_fails_a_file_is_an_error_for_github() -> None:
    assert github_report(judged(WARNED, strict=True)).startswith("::error file=a/warned.nir,")
    assert github_report(judged(WARNED)).startswith("::warning file=a/warned.nir,")


def test_escapes_of_github() -> None:
    finding = Finding("NIR106", "warning", "100%\n::error::mine")
    line = github_report(judged(Assessment("a,b:c%.nir", (finding,)))).splitlines()[0]
    assert line == (
        "::warning file=a%2Cb%3Ac%25.nir,title=NIR106 unfed-node::100%25\\n::error::mine"
    )


# ----------------------------------------------------------------------- hostile names

hostile = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\n\r\t\0\x1b\x85\u2028\ufffe\udcff<>&'\"]{}[]()%:,;#\\/"),
    ),
    max_size=20,
)


@example(file="\ud800", node="", message="", stops=False)
@example(file="../../../\ud800", node="a", message="b", stops=True)
@settings(max_examples=150, deadline=None)
@given(file=hostile, node=hostile, message=hostile, stops=st.booleans())
def test_hostile_names(file: str, node: str, message: str, stops: bool) -> None:
    """Whatever a file calls its nodes, each report stays what it is."""
    finding = Finding("NIR106", "error", message, node, node, message)
    told = Finding("NIR012", "info", message, node)
    verdicts = judged(
        Assessment(file, (told,) if stops else (finding, told), (finding,) if stops else (), 1)
    )
    lines = text_report(verdicts).split("\n")
    assert len(lines) == 5
    assert all(line.isprintable() for line in lines)
    commands = github_report(verdicts).split("\n")
    assert [re.match("::[a-z]+ |1 file|", line)[0] for line in commands] == [
        "::error ",
        "::notice ",
        "1 file",
        "",
    ]
    properties = commands[0][len("::error ") :].partition("::")[0]
    assert [part.partition("=")[0] for part in properties.split(",")] == ["file", "title"]
    (case,) = cases(junit_report(verdicts)).values()
    assert len(case[0].text.split("\n")) == 2
    json.dumps(json.loads(json_report(verdicts)))
    if "\0" not in file:  # of which there is no file
        one, _ = sarif(*verdicts)["results"]
        uri = one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"(file://)?[A-Za-z0-9._~/%-]*", uri)
        assert unquote_to_bytes(uri) is not None
