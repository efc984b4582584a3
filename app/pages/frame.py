"""What stands on every page: the navigation with the mark."""

import gradio as gr
from gradio.components.navbar import Navbar


def navigation() -> None:
    Navbar(main_page_name="Home")
    gr.HTML(
        '<a class="brand" href="/" aria-label="PRoLoRA Studio, home">'
        '<img src="/logo.svg" alt="" width="26" height="26">'
        "<b>PRoLoRA</b> Studio</a>",
        elem_classes="brand-box",
    )
