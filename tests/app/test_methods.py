import pytest

from app.pages import plots, show
from app.services.jobs import Curve
from prolora.methods import METHODS


@pytest.mark.parametrize(("name", "label"), [("clora", "prolora"), ("dora", "lora"), ("vera", "other")])
def test_a_method_is_coloured_as_its_family(name: str, label: str) -> None:
    assert f'class="method {label}"' in show.method(name)


def test_a_loss_plot_takes_every_method() -> None:
    figure = plots.loss_plot(Curve(1, each.name, ((0, 1.0), (1, 0.5))) for each in METHODS)
    assert [curve.name for curve in figure.data] == [f"{each.title}, job 1" for each in METHODS]
