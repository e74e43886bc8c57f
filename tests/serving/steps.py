"""What the tests of the page do and look at, time and again."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Locator, Page, expect

from spotify_engine.client import Client
from spotify_engine.serving.api.answers import Answer

Open = Callable[..., Page]
PASTE = """text => {
    const clipboardData = new DataTransfer();
    clipboardData.setData("text", text);
    const event = new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true});
    document.activeElement.dispatchEvent(event);
}"""


def rows(page: Page, tab: str = "playlist") -> Locator:
    return page.locator(f"#{tab}-results .recommendations > li")


def chart(page: Page, caption: str) -> Locator:
    return page.locator("table.bars:visible", has=page.locator("caption", has_text=caption))


def values(table: Locator, part: str = "tbody") -> list[float]:
    texts = table.locator(f"{part} .value").all_inner_texts()
    return [float(re.sub(r"[ %+]|plays?|playlists?", "", each).replace("−", "-")) for each in texts]


def add(page: Page, text: str, field: str = "Add a track") -> None:
    """Search, and take what is found first."""
    asked = urlencode({"q": text})
    with page.expect_response(lambda response: asked in response.url):
        page.get_by_role("combobox", name=field).press_sequentially(text)
    expect(page.get_by_role("option").first).to_contain_text(text)
    page.keyboard.press("Enter")


def complete(url: str, tracks: list[str], **how: Any) -> Answer:
    with Client(url) as client:
        return client.complete(tracks, explain=True, **how)


def shows(page: Page, answer: Answer, tab: str = "playlist") -> None:
    found = rows(page, tab).locator(".track")
    expect(found).to_have_text([each.name for each in answer.recommendations])
