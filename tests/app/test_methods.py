import pytest

from app.pages import plots, show
from app.services import adapters
from app.services.jobs import Curve
from prolora.methods import METHODS


@pytest.mark.parametrize(("name", "label"), [("clora", "prolora"), ("dora", "lora"), ("vera", "other")])
def test_a_method_is_coloured_as_its_family(name: str, label: str) -> None:
    assert f'class="method {label}"' in show.method(name)


def test_a_loss_plot_takes_every_method() -> None:
    figure = plots.loss_plot(Curve(1, each.name, ((0, 1.0), (1, 0.5))) for each in METHODS)
    assert [curve.name for curve in figure.data] == [f"{each.title}, job 1" for each in METHODS]


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("prolora", ("compact", "expanded")),
        ("clora", ("compact", "expanded")),
        ("lora", ("expanded",)),
        ("rslora", ("expanded",)),
        ("dora", ("compact",)),
        ("prolora-dora", ("compact",)),
        ("vera", ("compact",)),
        ("tied-lora", ("compact",)),
    ],
)
def test_an_adapter_is_offered_in_the_forms_that_there_are(name: str, forms: tuple[str, ...]) -> None:
    assert adapters.forms(name) == forms


@pytest.mark.parametrize(("name", "needs"), [("vera", False), ("dora", False), ("tied-lora", True), ("prolora", True)])
def test_an_archive_says_whether_peft_alone_loads_it(name: str, needs: bool) -> None:
    assert ("import prolora.peft" in adapters._stored_words(name)) == needs
