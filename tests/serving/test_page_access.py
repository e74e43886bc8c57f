"""The page by keyboard alone, on a phone, and as axe-core sees it; the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from spotify_engine.store.registry import Registry

from .steps import PASTE, Open, complete, rows, shows


def test_the_keyboard_is_enough(open_page: Open, url: str) -> None:
    page = open_page(url)
    expect(rows(page)).to_have_count(10)
    press = page.keyboard.press
    expect(page.get_by_role("tab", name="Playlist")).to_be_visible()
    press("Tab")
    expect(page.get_by_role("tab", name="Playlist")).to_be_focused()
    press("ArrowRight")
    expect(page.get_by_role("tab", name="Session")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="Session")).to_be_visible()
    press("ArrowRight")
    expect(page.get_by_role("tabpanel", name="Playlist")).to_be_visible()
    press("Tab")
    search = page.get_by_role("combobox", name="Add a track")
    expect(search).to_be_focused()
    page.keyboard.type("song")
    options = page.get_by_role("option")
    expect(options).to_have_count(8)
    expect(search).to_have_attribute("aria-expanded", "true")
    press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    expect(search).to_have_attribute("aria-activedescendant", options.nth(1).get_attribute("id"))
    press("ArrowUp")
    press("ArrowUp")
    expect(options.nth(7)).to_have_attribute("aria-selected", "true")
    press("Escape")
    expect(page.get_by_role("listbox")).to_have_count(0)
    expect(search).to_have_value("song")
    press("Escape")
    expect(search).to_have_value("")
    page.keyboard.type("song 12")
    expect(options.first).to_contain_text("Song 12")
    press("Enter")
    shows(page, complete(url, ["id12"]))
    expect(search).to_be_focused()
    page.locator("#playlist-comparison > summary").press("Enter")
    expect(page.get_by_role("grid")).to_be_visible()
    search.focus()
    # On through all that can be reached: nothing is without a visible focus, nothing is a trap.
    seen = []
    while True:
        press("Tab")
        now = page.evaluate(
            """() => {
                const at = document.activeElement;
                const style = getComputedStyle(at);
                const outline = style.outlineStyle !== "none" ? parseFloat(style.outlineWidth) : 0;
                const name = at === document.body ? "BODY" : at.ariaLabel || at.innerText || at.id;
                return [name, outline >= 2];
            }"""
        )
        if now[0] in ("BODY", "Playlist") or len(seen) > 80:
            break
        seen.append(now)
    assert len(seen) < 80
    assert [name for name, outline in seen if not outline] == []
    reached = [name for name, _ in seen]
    first = complete(url, ["id12"]).recommendations[0].name
    assert f"Add {first}" in reached
    assert "Remove Song 12" in reached
    assert f"Not this one: {first}" in reached
    assert any("Song 12 adds" in name for name in reached), "a way into the heatmap"

    second = complete(url, ["id12"]).recommendations[1].name
    rows(page).nth(1).locator(".pick").focus()
    press("Enter")
    expect(rows(page).nth(1).locator(".pick")).to_have_attribute("aria-current", "true")
    expect(page.locator("#playlist-why .subject")).to_contain_text(second)
    page.get_by_role("grid").locator(".cell").first.focus()
    press("ArrowDown")
    focused = page.locator(".cell:focus")
    expect(page.locator(".readout")).to_have_text(focused.get_attribute("aria-label"))
    expect(focused).to_have_attribute("aria-label", re.compile("Song 12 adds"))


def a_full_page(page: Page) -> None:
    """A hundred lines read, 16 of them in vain, the versions open."""
    page.get_by_role("combobox", name="Add a track").focus()
    tracks = [f"id{i}" for i in range(12)]
    tracks += [f"Artist {i % 11} - {'New' * 40} {i}" for i in range(80)]
    page.evaluate(PASTE, "\n".join([*tracks, *(f"Nobody - شمس {i} 🌙" for i in range(8))]))
    expect(page.locator("#playlist-chosen li")).to_have_count(84)
    expect(page.locator("#playlist-read")).to_contain_text("Not found: 16")
    page.locator("#playlist-comparison > summary").click()
    expect(page.get_by_text("24 of ")).to_contain_text("tracks: those with most attention")
    page.locator("#versions summary").click()
    versions = page.get_by_role("checkbox", name="Compare playlists")
    expect(versions).to_have_count(2)
    for place in range(2):
        versions.nth(place).check()
    expect(page.locator("table.comparison")).to_be_visible()


@pytest.fixture
def url(url: str, registry: Registry, bundles: dict[str, Path]) -> str:
    """With two versions to compare."""
    registry.publish(bundles["other_playlists"])
    return url


@pytest.mark.parametrize("width", [360, 800])
def test_no_width_scrolls_sideways(open_page: Open, url: str, width: int) -> None:
    page = open_page(url, viewport={"width": width, "height": 780})
    wide = "document.documentElement.scrollWidth - innerWidth"
    a_full_page(page)
    assert page.evaluate(wide) <= 0
    page.get_by_role("tab", name="Session").click()
    page.get_by_role("button", name="Try an example").click()
    expect(page.locator("#session-chosen li")).to_have_count(2)
    rows(page, "session").first.locator(".pick").click()
    page.locator("#session-why .figures > summary").click()
    expect(page.locator("#session-why .bars").first).to_be_visible()
    assert page.evaluate(wide) <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page: Open, url: str, scheme: str) -> None:
    page = open_page(url, color_scheme=scheme)
    a_full_page(page)
    assert_accessible(page)
    page.get_by_role("combobox", name="Add a track").fill("song")
    expect(page.get_by_role("option").first).to_be_visible()
    assert_accessible(page)
    page.get_by_role("tab", name="Session").click()
    page.get_by_role("button", name="Try an example").click()
    expect(page.locator("#session-chosen li")).to_have_count(2)
    assert_accessible(page)


def assert_accessible(page: Page) -> None:
    # axe takes a placeholder for a label.
    unlabelled = (
        "[...document.querySelectorAll('input')].filter(at => !at.labels[0] && !at.ariaLabel)"
    )
    assert page.evaluate(f"{unlabelled}.map(at => at.id)") == []
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_documentation_needs_no_network(open_page: Open, url: str) -> None:
    page = open_page(f"{url}/docs")
    expect(page.get_by_text("/v1/playlists/complete")).to_be_visible()
    expect(page.locator(".opblock")).to_have_count(14)
