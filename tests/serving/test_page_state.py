"""What the page keeps: its state in the address, what was removed, and which tabs there are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from spotify_engine.recommenders import open_registry
from spotify_engine.serving.service import Service
from spotify_engine.serving.settings import ServeSettings

from .conftest import serving
from .steps import Open, add, complete, rows, shows

CHOSEN = "#playlist-chosen li .track"


@pytest.fixture
def url(shared_url: str) -> str:
    return shared_url


def test_a_link_holds_all_that_is_shown(open_page: Open, url: str) -> None:
    page = open_page(url)
    for text in ("Song 12", "Song 14"):
        add(page, text)
    answer = complete(url, ["id12", "id14"])
    shows(page, answer)
    gone = answer.recommendations[1]
    rows(page).nth(1).get_by_role("button", name=f"Not this one: {gone.name}").click()
    answer = complete(url, ["id12", "id14"], exclude=[gone.id])
    shows(page, answer)
    page.get_by_role("button", name="10 more").click()
    wanted = complete(url, ["id12", "id14"], exclude=[gone.id], k=20)
    shows(page, wanted)
    expect(rows(page).nth(10).locator(".pick")).to_be_focused()
    page.get_by_label("Title").fill("Rock & roll? #1")
    picked = wanted.recommendations[12]
    rows(page).nth(12).locator(".pick").click()

    def is_as_it_was(page: Page) -> None:
        shows(page, wanted)
        expect(page.locator(CHOSEN)).to_have_text(["Song 12", "Song 14"])
        expect(page.get_by_label("Title")).to_have_value("Rock & roll? #1")
        expect(page.locator("#playlist-why .subject")).to_contain_text(picked.name)

    link = page.url
    page.reload()
    is_as_it_was(page)
    other = open_page(link)
    is_as_it_was(other)
    # Each tab keeps its own; Back and Forward bring what was shown then.
    other.get_by_role("tab", name="Session").click()
    other.get_by_role("button", name="Try an example").click()
    songs = other.locator("#session-chosen li .track")
    expect(songs).to_have_count(2)
    names = songs.all_inner_texts()
    other.get_by_role("tab", name="Playlist").click()
    other.get_by_role("button", name="Remove Song 12").click()
    expect(other.locator(CHOSEN)).to_have_text(["Song 14"])
    other.go_back()
    expect(songs).to_have_text(names)
    other.go_back()
    is_as_it_was(other)
    other.go_forward()
    other.reload()
    expect(songs).to_have_text(names)
    other.go_forward()
    expect(other.locator(CHOSEN)).to_have_text(["Song 14"])


def test_the_footer_says_which_epoch_each_tab_is_served_from(open_page: Open, url: str) -> None:
    page = open_page(url)
    expect(page.locator("footer")).to_contain_text("Served: epoch 2 of 3 (playlists).")
    page.get_by_role("tab", name="Session").click()
    expect(page.locator("footer")).to_contain_text("Served: epoch 2 of 3 (sessions).")


def test_every_removal_can_be_undone(open_page: Open, url: str) -> None:
    page = open_page(url)
    for text in ("Song 12", "Song 14", "Song 10"):
        add(page, text)
    chosen = page.locator(CHOSEN)
    whole = ["Song 12", "Song 14", "Song 10"]
    expect(chosen).to_have_text(whole)
    page.get_by_role("button", name="Remove Song 14").click()
    expect(chosen).to_have_text(["Song 12", "Song 10"])
    page.get_by_role("button", name="Remove all").click()
    expect(chosen).to_have_count(0)
    page.get_by_role("button", name="Undo: Removed 2 tracks.").click()
    expect(chosen).to_have_text(["Song 12", "Song 10"])
    page.get_by_role("button", name="Undo: Removed “Song 14”.").click()
    expect(chosen).to_have_text(whole)
    answer = complete(url, ["id12", "id14", "id10"])
    shows(page, answer)
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)
    for place in range(2):
        rows(page).first.locator("[data-act=without]").click()
        name = answer.recommendations[place + 1].name
        expect(rows(page).first.locator(".track")).to_have_text(name)
    page.get_by_role("button", name=f"Undo: {answer.recommendations[1].name} was").click()
    expect(rows(page).first.locator(".track")).to_have_text(answer.recommendations[1].name)
    page.get_by_role("button", name=f"Undo: {answer.recommendations[0].name} was").click()
    shows(page, answer)


def test_a_song_that_is_not_wanted_is_left_out_of_a_session_until_it_is_wanted_again(
    open_page: Open, url: str
) -> None:
    page = open_page(f"{url}/#session")
    # What is shown before is of nobody's songs.
    with page.expect_response(
        lambda answer: (
            answer.url.endswith("/v1/sessions/next")
            and len(answer.request.post_data_json["recent"]) == 2
        )
    ):
        page.get_by_role("button", name="Try an example").click()
    names = page.locator("#session-results .track")
    expect(page.locator("#session-chosen li .track")).to_have_count(2)
    expect(page.locator("#session-results [aria-busy=true]")).to_have_count(0)
    expect(names.first).not_to_be_empty()
    before = names.all_inner_texts()
    page.locator("#session-results [data-act=without]").first.click()
    expect(names.first).to_have_text(before[1])
    assert before[0] not in names.all_inner_texts()
    page.reload()
    expect(names.first).to_have_text(before[1])
    page.get_by_role("button", name="Undo").click()
    expect(names).to_have_text(before)


def test_enter_adds_the_track_that_was_named_and_no_other(open_page: Open, url: str) -> None:
    page = open_page(url)
    search = page.get_by_role("combobox", name="Add a track")
    chosen = page.locator(CHOSEN)
    for text in ("artist 6 - SONG 12", "Song 14 - Artist 7"):
        search.fill(text)
        search.press("Enter")
        expect(search).to_have_value("")
    expect(chosen).to_have_text(["Song 12", "Song 14"])
    search.fill("Artist 6 - Song 120")
    search.press("Enter")
    options = page.locator("#playlist-options")
    expect(options).to_contain_text("Not found: “Artist 6 - Song 120”. Nearest: “Artist")
    search.press("Enter")
    expect(chosen).to_have_count(2)
    expect(search).to_have_value("Artist 6 - Song 120")


def test_only_real_ids_lead_to_spotify(open_page: Open, url: str) -> None:
    page = open_page(url)
    links = page.evaluate(
        """async () => {
          const { spotifyLink } = await import("/static/results.js");
          const link = (id, invented) => spotifyLink({ id, name: "x" }, invented)?.href ?? null;
          return [link("4uLU6hMCjMI75M1A2tKUQC", false), link("4uLU6hMCjMI75M1A2tKUQC", true),
                  link("id12", false), link("4uLU6hMCjMI75M1A2tKU/C", false)];
        }"""
    )
    assert links == ["https://open.spotify.com/track/4uLU6hMCjMI75M1A2tKUQC", None, None, None]


def test_lines_are_as_wide_as_what_goes_through_them(open_page: Open, url: str) -> None:
    page = open_page(url)
    for text in ("Song 12", "Song 14"):
        add(page, text)
    answer = complete(url, ["id12", "id14"])
    shows(page, answer)
    why = answer.recommendations[0].explanation
    through = {kind: [getattr(path, kind) for path in why.paths]
               for kind in ("item_item", "listening", "artists")}  # fmt: skip
    totals = {kind: sum(values) for kind, values in through.items()} | {"bias": why.bias}
    moved = sum(map(abs, totals.values()))
    shown = [kind for kind, total in totals.items() if abs(total) / moved >= 0.005]
    drawing = page.locator("#playlist-why .drawing")
    expect(drawing.locator(".shared li")).to_have_count(len(shown))
    most = max(map(abs, [*totals.values(), *(v for values in through.values() for v in values)]))

    def lines(place: int) -> list[tuple[bool, float]]:
        drawn = drawing.locator("svg").nth(place).locator("path")
        return [
            ("negative" in (line.get_attribute("class") or ""),
             float(line.get_attribute("stroke-width") or 0)) for line in drawn.all()
        ]  # fmt: skip

    def wanted(values: list[float]) -> list[tuple[bool, Any]]:
        drawn = [value for value in values if abs(value) / moved >= 0.005]
        return [(v < 0, pytest.approx(max(14 * abs(v) / most, 1), abs=0.06)) for v in drawn]

    assert lines(1) == wanted([totals[kind] for kind in shown])
    assert lines(0) == wanted([v for kind in shown if kind != "bias" for v in through[kind]])
    expect(drawing.locator("ul").first.locator("li")).to_have_text(
        [answer.seeds[path.seed].name for path in why.paths]
    )


def test_a_phone_shows_the_reasons_below_the_row_that_was_tapped(open_page: Open, url: str) -> None:
    page = open_page(url, viewport={"width": 390, "height": 800})
    add(page, "Song 12")
    shows(page, complete(url, ["id12"]))
    why = page.locator("#playlist-why")
    expect(why).to_be_hidden()
    tapped = rows(page).nth(2)
    pick = tapped.locator(".pick")
    pick.click()
    expect(tapped.locator("#playlist-why .drawing")).to_be_visible()
    expect(pick).to_have_attribute("aria-expanded", "true")
    box, below = pick.bounding_box(), why.bounding_box()
    assert box is not None
    assert below is not None
    assert 0 <= below["y"] - (box["y"] + box["height"]) < 120
    pick.click()
    expect(why).to_be_hidden()
    page.set_viewport_size({"width": 1280, "height": 800})
    expect(page.locator("section.why #playlist-why .drawing")).to_be_visible()


@pytest.fixture
def invented(
    settings: ServeSettings, bundles: dict[str, Path], tmp_path: Path
) -> Iterator[Service]:
    """Playlists alone, of a version that says that its data is generated."""
    folder = shutil.copytree(bundles["playlists"], tmp_path / "invented")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "invented": True}))
    registry = open_registry(settings.registry)
    registry.activate(registry.publish(folder).id)
    with serving(settings) as made:
        yield made


def test_invented_data_and_what_is_not_served_are_told(
    open_page: Open, url: str, invented: Service, serve: Callable[[Any], str]
) -> None:
    page = open_page(url)
    expect(page.get_by_role("tab", name="Session")).to_be_visible()
    expect(page.locator("#invented")).to_be_hidden()
    of_invented = serve(invented)
    page = open_page(f"{of_invented}/#session")
    expect(page.get_by_text("Invented data")).to_be_visible()
    expect(page.get_by_role("tab")).to_have_count(0)
    expect(page.get_by_role("tabpanel")).to_have_id("panel-playlist")
    expect(rows(page)).to_have_count(10)
    page.close()


def test_files_come_in_and_go_out(open_page: Open, url: str, tmp_path: Path) -> None:
    page = open_page(url)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="open one").click()
    file = tmp_path / "Sunday morning.csv"
    file.write_text("Track Name,Artist Name(s)\nSong 12,Artist 6\nsong 14,ARTIST 7\n")
    chooser.value.set_files(file)
    expect(page.locator(CHOSEN)).to_have_text(["Song 12", "Song 14"])
    expect(page.locator("#playlist-read")).to_contain_text("2 known")
    shows(page, complete(url, ["id12", "id14"], title=page.get_by_label("Title").input_value()))
    page.get_by_label("Save as").select_option("text")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save").click()
    assert saved.value.path().read_text() == "Artist 6 - Song 12\nArtist 7 - Song 14\n"
    assert saved.value.suggested_filename.endswith(".txt")
    page.get_by_label("Save as").select_option("uris")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".save")).to_contain_text("id")

    # Several playlists in one text: which of them is asked.
    def song(i: int) -> dict[str, str]:
        return {"track_name": f"Song {i}", "artist_name": f"Artist {i // 2}"}

    lists = [{"name": f"List {i}", "tracks": [song(i)]} for i in (1, 5)]
    data = page.evaluate_handle(
        """text => {
            const data = new DataTransfer();
            data.items.add(new File([text], "mpd.slice.json"));
            return data;
        }""",
        json.dumps({"playlists": lists}),
    )
    page.dispatch_event("#panel-playlist", "drop", {"dataTransfer": data})
    page.get_by_role("button", name="List 5").click()
    expect(page.locator(CHOSEN)).to_have_count(3)
