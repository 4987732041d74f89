"""Tables and words: plain and without escape codes off a terminal, harmless on one."""

import io
import sys

import pytest

from gridbroker.app.cli import output, words


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Not a fixture: pytest sets stdout anew between a test's fixtures and the test."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return screen


def test_a_plain_table_is_aligned_and_has_no_escape_codes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    output.table(["id", "name"], [["1", "a"], ["22", None]])
    assert capsys.readouterr().out == "ID  NAME\n1   a\n22  -\n"


def test_a_terminal_gets_a_drawn_table_that_takes_no_markup(monkeypatch: pytest.MonkeyPatch):
    terminal = on_terminal(monkeypatch)
    output.table(["id", "name"], [["1", "[red]a[/red]"]])
    assert "[red]a[/red]" in terminal.getvalue() and "─" in terminal.getvalue()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch):
    terminal = on_terminal(monkeypatch)
    output.table(["id"], [["1"]])
    coloured = terminal.getvalue()
    assert "\x1b[" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    output.table(["id"], [["1"]])
    assert "\x1b[3" not in terminal.getvalue().removeprefix(coloured)  # bold is no colour


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "a\x07", "\x9b31m", "a\u202eb", "a\nb"])
def test_what_a_terminal_would_obey_is_shown_as_a_question_mark(text: str, monkeypatch: pytest.MonkeyPatch):
    terminal = on_terminal(monkeypatch)
    assert "?" in output.clean(text)
    output.put(text)
    assert not set(terminal.getvalue().rstrip("\n")) & set("\x1b\r\x07\x9b\u202e\n")


def test_simulated_time_is_said_above_the_table(capsys: pytest.CaptureFixture[str]):
    output.table(["id"], [["1"]], clock_factor=60)
    output.fields({"Cost": "1 EUR"}, clock_factor=60)
    output.table(["id"], [["1"]])
    assert capsys.readouterr().out.count("simulated time x60") == 2


def test_figures_carry_their_units():
    assert words.at("2026-03-20T13:00:00+01:00") == "2026-03-20 12:00:00Z"
    assert words.eur(12_500_000) == "12.50 EUR" and words.eur(34_500) == "0.0345 EUR"
    assert words.kwh("3600000000") == "1 kWh"
    assert words.grams(1500) == "1.5 gCO2e"
    assert words.counted({"vram": 1, "draining": 3}) == "draining 3, vram 1"
