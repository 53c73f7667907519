"""The janitor fixture notices what pytest-twisted lets pass."""

import pytest

pytestmark = pytest.mark.slow

pytest_plugins = ["pytester"]
CONFTEST = (__import__("pathlib").Path(__file__).parents[2] / "conftest.py").read_text()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("defer.fail(ValueError('lost'))", "unhandled error"),
        ("reactor.callLater(60, print)", "left behind in the reactor"),
        ("import socket; reactor.listenTCP(0, Factory())", "left behind in the reactor"),
    ],
)
def test_janitor_fails_a_test_that_leaves_something(pytester: pytest.Pytester, body: str, complaint: str) -> None:
    """An unhandled Deferred error, a delayed call, an open port: each fails the test that left it."""
    pytester.makeconftest(CONFTEST.replace("SETTLING = 2.0", "SETTLING = 0.05"))
    pytester.makepyfile(
        "from twisted.internet import defer, reactor\nfrom twisted.internet.protocol import Factory\n"
        f"def test_it():\n    {body}\n"
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([f"*{complaint}*"])


def test_janitor_passes_a_clean_test(pytester: pytest.Pytester) -> None:
    """A test that cleans up is left alone."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        "from twisted.internet import reactor\ndef test_it():\n    reactor.callLater(60, print).cancel()\n"
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
