import json

import pytest

from facemill.manifests.printable import printable
from facemill.pipeline.commands.printing import echo, echo_json, echo_table

HOSTILE = "\x1b[31mred\x07 \u202eright [/x] [red]GAN[v1][/red]\nnext \ud800"


def test_nothing_reaches_the_terminal_but_what_prints(capsys: pytest.CaptureFixture[str]) -> None:
    echo(HOSTILE)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    assert line == r"\x1b[31mred\x07 \u202eright [/x] [red]GAN[v1][/red]\nnext \ud800"
    assert printable("naïve 名前") == "naïve 名前"


def test_tables_take_nothing_for_markup(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table("Of [v1]", ["method", "samples"], [["GAN[v1]", 1], ["GAN[v2]", 2], ["[/x]", 3], ["\x1b]0;x\x07", 4]])
    out = capsys.readouterr().out
    assert all(text in out for text in ("Of [v1]", "GAN[v1]", "GAN[v2]", "[/x]", r"\x1b]0;x\x07"))
    assert "\x1b" not in out


def test_a_table_has_80_columns_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "n" * 90
    echo_table("Table", ["name", *"abcdefg", "note"], [[name, *["12,345.0"] * 6, "9 %", "x"], ["short", *"1234567", 1]])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.count("n") for line in lines[4:]) == len(name)
    assert "…" not in "".join(lines)
    [first], [last] = ([line for line in lines if word in line] for word in ("9 %", "short"))
    assert first.count("12,345.0") == 6
    assert first.rindex("%") == last.rindex("7")  # numbers end where numbers end


def test_json_is_plain_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({"id": HOSTILE})
    out = capsys.readouterr().out
    assert out.isascii()
    assert "\x1b" not in out
    assert json.loads(out) == {"id": HOSTILE}
