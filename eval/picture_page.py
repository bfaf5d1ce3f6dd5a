"""A page of pictures with what they show in words, for a browser."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.files import write_bytes

from .html import html_templates

_TEMPLATE = "pictures.html.j2"
_QUALITY = 90
_PURPOSE = "a page of pictures"


@dataclass(frozen=True)
class Picture:
    """A picture on a page.

    Attributes:
        path: relative to the page.
        alt: what it shows, for who does not see it.
        caption: what to say below it.
    """

    path: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Section:
    """Pictures below a title and some lines of text."""

    title: str
    text: tuple[str, ...]
    pictures: tuple[Picture, ...]


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write H x W x 3 uint8, BGR, as a JPEG file.

    Raises:
        InputError: it cannot be written.
    """
    write_bytes(path, cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())


def check_page() -> None:
    """Find out before the work that `render_page` would fail.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    html_templates(_PURPOSE)


def render_page(title: str, text: Sequence[str], sections: Sequence[Section]) -> str:
    """The page as HTML; every text is escaped.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    html: str = html_templates(_PURPOSE).get_template(_TEMPLATE).render(title=title, text=text, sections=sections)
    return html
