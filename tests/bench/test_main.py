"""What the command of the benchmarks refuses before it measures."""

import pytest

from bench.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["startup", "--text", __file__], "startup takes no text; leave startup or --text out"),
        (["quality", "--text", "none.txt"], "there is no file none.txt"),
        (["text", "--threads", "0"], "0 is no number of threads"),
    ],
)
def test_an_option_that_would_be_passed_over_is_refused_in_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert said in capsys.readouterr().err.splitlines()[-1]
