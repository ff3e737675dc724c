"""What is found: every line that was changed, removed, added or moved, by its name."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bedside.audit.chain import FILES, rotated
from bedside.audit.cli import audit_verify
from bedside.audit.record import Link, Moment, read_line, seal
from bedside.audit.verify import verify_audit
from cinert.errors import BadInputError
from cinert.files import sha256_of


def run(*arguments: object) -> Result:
    return CliRunner().invoke(audit_verify, [str(argument) for argument in arguments])


def rows(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def problems(path: Path, changed: list[bytes]) -> list[str]:
    path.write_bytes(b"".join(changed))
    return verify_audit(path).problems


def test_a_whole_log(written: Path) -> None:
    result = run(written)

    assert result.exit_code == 0, result.output
    assert "12 lines, numbers 1 to 12" in result.output
    assert "10 frames: 10 live; 0 not logged" in result.output
    assert "note:" not in result.output
    assert f"head {json.loads(rows(written)[-1])['hash']}" in result.output


@pytest.mark.parametrize("row", [0, 5, 11])
def test_a_changed_byte(written: Path, row: int) -> None:
    before = rows(written)
    for place in range(len(before[row]) - 1):
        spoiled = bytearray(before[row])
        spoiled[place] ^= 1
        found = problems(written, [*before[:row], bytes(spoiled), *before[row + 1 :]])
        assert found, (place, bytes(spoiled))
        assert any(f"line {row + 1}" in each or f"line {row + 2}" in each for each in found), found


def test_a_changed_line_is_named(written: Path) -> None:
    before = rows(written)
    before[4] = before[4].replace(b'"state":"live"', b'"state":"late"')

    assert problems(written, before) == [
        "audit.jsonl line 5 (number 5) was changed: its hash is not that of its content"
    ]


def test_a_changed_line_with_its_own_new_hash_is_named(written: Path) -> None:
    before = rows(written)
    line = read_line(before[4])
    content = {key: line.content[key] for key in line.content if key not in {"number", "at", "monotonic_ns", "kind"}}
    content = {**content, "state": "late"}
    del content["previous"]
    moment = Moment(0, line.content["monotonic_ns"])
    previous = line.content["previous"]
    before[4], _ = seal("frame", moment, content, Link(4, previous))

    (found,) = [each for each in problems(written, before) if "clock" not in each]
    assert found == "audit.jsonl line 6 (number 6) does not follow the line before it: one of the two was exchanged"


@pytest.mark.parametrize("row", range(1, 11))
def test_a_removed_line(written: Path, row: int) -> None:
    before = rows(written)

    assert problems(written, before[:row] + before[row + 1 :]) == [
        f"audit.jsonl line {row + 1}: 1 lines are missing before number {row + 2}"
    ]


def test_removed_at_the_beginning(written: Path) -> None:
    assert problems(written, rows(written)[3:]) == ["lines 1 to 3 are missing"]


def test_removed_at_the_end_shows_against_the_head(written: Path) -> None:
    head = verify_audit(written).last.hash
    written.write_bytes(b"".join(rows(written)[:-3]))

    assert run(written).exit_code == 0
    assert "does not end with a closing line" in run(written).output
    refused = run(written, "--head", head)
    assert refused.exit_code == 1
    assert "lines were removed at the end, or written anew" in refused.output


def test_written_anew_from_some_line_on_shows_against_the_head(written: Path) -> None:
    head = verify_audit(written).last.hash
    before = rows(written)
    link, forged = read_line(before[3]).link, before[:4]
    for row in before[4:]:
        content = dict(read_line(row).content)
        kind, moment = content["kind"], Moment(0, content["monotonic_ns"])
        rest = {k: v for k, v in content.items() if k not in {"number", "at", "monotonic_ns", "kind", "previous"}}
        line, link = seal(kind, moment, {**rest, "total_ms": 1.0}, link)
        forged.append(line)
    written.write_bytes(b"".join(forged))

    assert not verify_audit(written).problems
    assert verify_audit(written, head=head).problems


def test_two_lines_in_the_wrong_order(written: Path) -> None:
    before = rows(written)
    before[4], before[5] = before[5], before[4]

    found = problems(written, before)
    assert any("line 5: 1 lines are missing before number 6" in each for each in found)
    assert any("line 6: number 5 stands after number 6" in each for each in found)


def test_a_line_twice(written: Path) -> None:
    before = rows(written)

    found = problems(written, [*before[:5], before[4], *before[5:]])
    assert found[0] == "audit.jsonl line 6: number 5 stands after number 5"


@pytest.mark.parametrize("text", [b"a word\n", b"\n", b'{"number":5}\n', b'{"number":6,"at":"2026\n'])
def test_what_is_no_line(written: Path, text: bytes) -> None:
    before = rows(written)

    found = problems(written, [*before[:5], text, *before[5:]])
    assert found[0] == "audit.jsonl line 6 is no line of an audit log"
    assert "is no line of an audit log" in problems(written, [*before, b"a word"])[0]


def test_half_a_line_does_not_hide_another(written: Path, open_log) -> None:
    """A note of a half line holds for that half line alone."""
    half = b'{"number":13,"at":"20'
    written.write_bytes(written.read_bytes() + half)
    with open_log():
        pass
    before = rows(written)
    torn = next(row for row, line in enumerate(before) if b'"kind":"torn"' in line)

    assert before[torn - 1] == half + b"\n"
    assert not verify_audit(written).problems
    found = problems(written, [*before[: torn - 1], half[:-1] + b"1\n", *before[torn:]])
    assert found == [f"audit.jsonl line {torn} is no line of an audit log"]


@pytest.mark.parametrize("which", [0, 2, -1])
def test_a_file_of_several_that_is_missing(path: Path, open_log, answer, which: int) -> None:
    for _ in range(6):
        with open_log(FILES * 2000) as log:
            for seed in range(5):
                log.note(1, answer(seed))
    assert not verify_audit(path).problems

    rotated(path)[which].unlink()

    (found,) = verify_audit(path).problems
    assert "missing" in found


def test_a_clock_that_was_set_is_noted(written: Path) -> None:
    before = rows(written)
    last = read_line(before[-1])
    ns = 10**9
    moment = Moment(1_900_000_000 * ns, last.content["monotonic_ns"] + ns)
    line, _ = seal("frame", moment, {"state": "live"}, last.link)
    written.write_bytes(b"".join([*before, line]))

    report = verify_audit(written)
    assert not report.problems
    assert any("line 13: the clock moved by +" in note for note in report.notes)


def test_what_is_no_log_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "letter").write_text("dear reader\n")
    for name, words in {"none": "there is no audit log", "empty": "holds no line", "letter": "holds no line"}.items():
        result = run(tmp_path / name)
        assert result.exit_code == 2, result.output
        assert result.output.startswith("audit-verify: ")
        assert words in result.output
    (tmp_path / "folder.000001").mkdir()
    with pytest.raises(BadInputError, match="cannot read"):
        verify_audit(tmp_path / "folder")


def test_the_verdict_names_the_line(written: Path) -> None:
    before = rows(written)
    written.write_bytes(b"".join(before[:5] + before[6:]))

    result = run(written)

    assert result.exit_code == 1
    assert f"audit-verify: {written} is not what was written: audit.jsonl line 6: 1 lines are missing" in result.output


def test_a_line_that_was_read_is_the_line_that_was_sealed() -> None:
    sealed, link = seal("frame", Moment.now(), {"state": "live", "reason": '","hash":"' + "0" * 64}, Link(6, "a" * 64))

    line = read_line(sealed)
    assert line.holds
    assert line.link == link == Link(7, sha256_of(sealed[:-76] + b"}"))
    assert read_line(sealed[:-3]) is None
