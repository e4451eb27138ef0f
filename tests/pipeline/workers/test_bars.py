import sys
from types import SimpleNamespace

from pipeline.workers.bars import hides_bars


def test_terminal_decides_outside_of_a_notebook():
    assert hides_bars() is None


def test_notebook_shows_bars(monkeypatch):
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))

    assert hides_bars() is False


def test_terminal_of_ipython_is_a_terminal(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=object))

    assert hides_bars() is None
