"""The page in a real browser, with the real application behind it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Route, expect

from spotify_engine.client import Client
from spotify_engine.recommenders import open_registry
from spotify_engine.serving.service import Service
from spotify_engine.serving.settings import ServeSettings
from spotify_engine.store.registry import Registry

from .conftest import TOKEN
from .steps import PASTE, Open, add, chart, complete, rows, shows, values


def test_search_add_complete(open_page: Open, url: str) -> None:
    page = open_page(url)
    expect(page.get_by_text("An empty playlist")).to_be_visible()
    shows(page, complete(url, []))
    add(page, "Song 12")
    expect(page.locator("#playlist-chosen li")).to_have_text(["Song 12Artist 6×"])
    expected = complete(url, ["id12"])
    shows(page, expected)
    best, *_ = scores = [each.score for each in expected.recommendations]
    shares = [int(100 * max(score / best, 0) + 0.5) for score in scores]
    expect(rows(page).locator(".match")).to_have_text([f"match {share} %" for share in shares])
    bars = rows(page).locator(".match rect.matched")
    drawn = [float(bar.get_attribute("width")) for bar in bars.all()]
    assert drawn == [max(share, 3) for share in shares]
    for each, row in zip(expected.recommendations, rows(page).all(), strict=True):
        assert each.popularity is not None
        facts = row.locator(".facts").inner_text().split(" · ")
        assert facts[:-1] == each.genres[:3]
        assert facts[-1] in ("new", "little known", "known", "popular", "very popular")

    first = expected.recommendations[0]
    rows(page).first.get_by_role("button", name=f"Add {first.name}").click()
    expect(page.locator("#playlist-chosen li")).to_have_count(2)
    shows(page, complete(url, ["id12", first.id]))
    # The button went with its track; the one that is there instead has the focus.
    expect(rows(page).first.locator("[data-act=add]")).to_be_focused()
    page.get_by_role("button", name="Remove Song 12").click()
    shows(page, complete(url, [first.id]))
    answered = page.locator("#answered")
    expect(answered).to_have_text(
        re.compile(rf"{expected.version} answered in \d+ ms \(server \d+\.\d ms\)")
    )


def test_reasons_and_charts_are_the_answers(open_page: Open, url: str) -> None:
    page = open_page(url)
    for text in ("Song 12", "Song 14", "Song 10"):
        add(page, text)
    expect(page.locator("#playlist-chosen li")).to_have_count(3)
    answer = complete(url, ["id12", "id14", "id10"])
    shows(page, answer)
    page.locator("#playlist-why .figures > summary").click()
    for place in (0, 3):
        each = answer.recommendations[place]
        if place:
            rows(page).nth(place).locator(".pick").click()
        expect(page.locator("#playlist-why .subject")).to_contain_text(each.name)
        strongest = max(
            (reason for reason in each.reasons if reason.kind != "rest"),
            key=lambda reason: reason.contribution,
            default=each.reasons[0],
        )
        said = re.sub(r" \((attention|affinity|score)[^()]*\)", "", strongest.text)
        if strongest.kind == "genre" and each.explanation.matched_genres:
            [first, *_] = said.split("; ")
            of_artist = "" if first.startswith("Matches") else f"{first}, and it "
            genres = " and ".join([*each.explanation.matched_genres][:2])
            said = f"{of_artist}{'m' if of_artist else 'M'}atches the playlist’s {genres}"
        expect(rows(page).nth(place).locator(".because")).to_have_text(f"{said}.")
        why = each.explanation
        bars = chart(page, "What each track of the playlist adds")
        drawn = values(bars)
        assert drawn == pytest.approx([*sorted(why.seeds, reverse=True), why.bias], abs=6e-4)
        [total] = values(bars, "tfoot")
        assert total == pytest.approx(each.score, abs=6e-4)
        assert sum(drawn) == pytest.approx(total, abs=3e-3)
        widths = bars.locator("tbody rect, tfoot rect").evaluate_all(
            "all => all.map(one => one.getBoundingClientRect().width)"
        )
        assert [w / widths[-1] for w in widths] == pytest.approx(
            [abs(v / total) for v in [*drawn, total]], abs=0.02
        )
        genres = chart(page, "Genres, by share")
        shares = [round(100 * share) for share in answer.genres.values()]
        assert sorted(values(genres)) == sorted(shares)
        matched = genres.locator("tr.remarked .label").all_inner_texts()
        assert sorted(matched) == sorted(why.matched_genres)
    opened = page.locator("#playlist-why")
    opened.get_by_text("The same score by what").click()
    parts = values(chart(page, "Parts of the score"))
    assert parts == pytest.approx([*why.parts.values(), why.bias], abs=6e-4)
    # What was opened stays so when another one is chosen.
    rows(page).nth(1).locator(".pick").click()
    expect(chart(page, "What each track of the playlist adds")).to_be_visible()
    rows(page).nth(3).locator(".pick").click()
    page.locator("#playlist-comparison > summary").click()

    order = sorted(range(3), key=lambda i: -answer.seeds[i].attention)
    grid = page.get_by_role("grid")
    cells = grid.locator("tbody tr").first.locator(".cell")
    expect(cells).to_have_count(3)
    assert [cell.get_attribute("aria-label") for cell in cells.all()] == [
        f"{answer.seeds[i].name}: {100 * answer.seeds[i].attention:.1f} % of the attention"
        for i in order
    ]
    terms = [v for r in answer.recommendations for v in r.explanation.seeds]
    largest = max(map(abs, terms))
    said = [
        *([f"lowers the score, by {-min(terms):.3f} at most"] if min(terms) < 0 else []),
        *([f"raises the score, by {max(terms):.3f} at most"] if max(terms) > 0 else []),
        "attention",
    ]
    expect(page.locator("#playlist-heatmap .legend > span")).to_have_text(said)
    expect(page.locator("#playlist-chosen .count")).to_contain_text("3 tracks")
    for place, each in enumerate(answer.recommendations):
        cells = grid.locator("tbody tr").nth(place + 1).locator(".cell")
        for i, cell in zip(order, cells.all(), strict=True):
            value = each.explanation.seeds[i]
            said = f"{value:+.3f}".replace("-", "−")
            wanted = f"{answer.seeds[i].name} adds {said} to {each.name}"
            assert cell.get_attribute("aria-label") == wanted
            assert ("negative" in cell.get_attribute("class").split()) == (value < 0)
            share = float(
                cell.evaluate("cell => parseFloat(cell.style.getPropertyValue('--share'))")
            )
            assert share == pytest.approx(100 * abs(value) / largest, abs=0.06)


def test_what_is_not_known_is_said(open_page: Open, url: str) -> None:
    page = open_page(url)
    page.get_by_role("combobox", name="Add a track").focus()
    evil = "Nobody - <img src=x onerror=alert(1)>"
    page.evaluate(PASTE, f"id3\n{evil}\r\n Artist 4\tNew one \n")
    chosen = page.locator("#playlist-chosen li")
    expect(chosen.nth(0)).to_contain_text("Alive - Live")  # an id gets its name
    expect(chosen.nth(1)).to_contain_text("New oneArtist 4only its artist is known")
    notes = page.locator("#playlist-results .notice")
    expect(notes).to_have_text(["Only the artist is known: “Artist 4 - New one”."])
    read = page.locator("#playlist-read")
    expect(read).to_contain_text("1 known, 1 by their artist, 1 not found.")
    expect(read.locator(".read li")).to_have_text([re.compile(re.escape(f"“{evil}” Nearest: "))])
    assert page.locator("img").count() == 0
    shows(page, complete(url, ["id3", "Artist 4 - New one"]))
    # What resembles it is added only by who wants it.
    read.get_by_role("button", name=re.compile("^Add .* instead$")).click()
    expect(chosen).to_have_count(3)
    expect(read.locator(".read li")).to_have_count(0)
    page.get_by_role("button", name="Remove all").click()
    page.get_by_label("Title").fill("Rock morning")
    expect(notes).to_have_text([re.compile("completed from playlists with similar titles")])
    shows(page, complete(url, [], title="Rock morning"))
    page.locator("#playlist-why .figures > summary").click()
    bars = chart(page, "What makes up its score")
    assert sum(values(bars)) == pytest.approx(values(bars, "tfoot")[0], abs=3e-3)
    expect(page.get_by_role("grid")).to_have_count(0)
    # As it stands, where the search finds nothing like it.
    search = page.get_by_role("combobox", name="Add a track")
    search.fill("Qqqq - Zzzz")
    page.get_by_role("option", name="Add “Qqqq - Zzzz” as typed").click()
    expect(chosen).to_have_text(["ZzzzQqqqnot in the catalogue×"])


def test_charts_say_what_is_so(open_page: Open, url: str) -> None:
    """Of what adds and takes away, and of parts that round to nothing or all."""
    page = open_page(url)
    found = page.evaluate(
        """async () => {
          const { percent, heatmap } = await import("/static/charts.js");
          const legend = (...values) => [...heatmap({
            caption: "", rows: [{ label: "r", values, selected: true }],
            columns: values.map((_, i) => ({ label: `c${i}`, attention: 1 })),
          }).querySelectorAll(".legend > span")].map((span) => span.textContent);
          return {
            percents: [0, 0.004, 0.5, 0.9951, 0.999, 1, 1 - 1e-9].map((x) => percent(x)),
            tenths: [0.0004, 0.9996].map((x) => percent(x, 1)),
            both: legend(0.25, -0.5), up: legend(2.9, 1), down: legend(-1, 0), none: legend(0, 0),
          };
        }"""
    )
    assert found == {
        "percents": ["0 %", "under 1 %", "50 %", "over 99 %", "over 99 %", "100 %", "100 %"],
        "tenths": ["under 0.1 %", "over 99.9 %"],
        "both": [
            "lowers the score, by 0.500 at most", "raises the score, by 0.250 at most", "attention",
        ],
        "up": ["raises the score, by 2.900 at most", "attention"],
        "down": ["lowers the score, by 1.000 at most", "attention"],
        "none": ["attention"],
    }  # fmt: skip


def test_what_stands_in_for_a_user_is_said_as_it_is(open_page: Open, url: str) -> None:
    """A user field that is empty or blank is no unknown user."""
    page = open_page(f"{url}/#session")
    note = page.locator("#session-results .notice").first
    user = page.get_by_label("User")
    user.fill("somebody new")
    expect(note).to_have_text(
        "This user is not known, and no song was played: the most played songs."
    )
    user.fill("   ")
    expect(note).to_contain_text("Nothing was played yet")
    page.get_by_role("button", name="Try an example").click()
    expect(page.locator("#session-chosen .count")).to_contain_text("2 songs, last one last")
    expect(note).to_have_text("No user is named: predicted from this session's songs alone.")
    user.fill("somebody new")
    expect(note).to_have_text("This user is not known: predicted from this session's songs alone.")
    page.locator("#session-chosen button.remove").first.click()
    expect(page.locator("#session-chosen .count")).to_have_text("1 song ")


def test_only_the_newest_answer_is_shown(open_page: Open, url: str) -> None:
    page = open_page(url)
    shows(page, complete(url, []))
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        if held:
            route.continue_()
        held.append(route)

    page.route("**/v1/playlists/complete", hold_first)
    title = page.get_by_label("Title")
    title.fill("Jazz evening")
    while not held:
        page.wait_for_timeout(20)
    title.fill("Rock morning")
    expected = complete(url, [], title="Rock morning")
    shows(page, expected)
    assert expected.recommendations != complete(url, [], title="Jazz evening").recommendations
    assert len(held) == 2
    held[0].fulfill(json=complete(url, [], title="Jazz evening").model_dump(mode="json"))
    page.wait_for_timeout(300)
    shows(page, expected)


def test_a_session_learns_from_what_is_played(open_page: Open, url: str, service: Service) -> None:
    page = open_page(f"{url}/#session")
    recommender = service.served.engines["sessions"].recommender
    with Client(url) as client:
        shows(page, client.next(explain=True), "session")
        page.get_by_role("button", name="Try an example").click()
        expect(page.locator("#session-chosen li")).to_have_count(2)
        user = recommender.user_ids[2]
        page.get_by_label("User").fill(user)
        song = client.next(explain=True).recommendations[0].id
        recent = [each.id for each in client.next().recommendations[:2]]
        assert song == recent[0]
        answer = client.next(user, recent, explain=True)
        shows(page, answer, "session")
        page.locator("#session-why .figures > summary").click()
        bars = chart(page, "What makes up its score")
        terms = [100 * value for value in answer.recommendations[0].explanation.terms.values()]
        assert values(bars) == pytest.approx(sorted(terms, reverse=True), abs=6e-3)
        score = 100 * answer.recommendations[0].score
        assert values(bars, "tfoot") == pytest.approx([score], abs=6e-3)
        percent = answer.recommendations[0].explanation.percent
        expect(page.locator("#session-why .shares li")).to_have_text(
            [f"{cause} {share} %" for cause, share in percent.items() if share]
        )
        neighbours = answer.recommendations[0].explanation.neighbours
        attention = chart(page, "Songs of the user's history")
        assert values(attention) == pytest.approx(
            [100 * each.attention for each in neighbours], abs=0.06
        )

        played = answer.recommendations[1]
        stored = f"Store that {user} played {played.name}"
        rows(page, "session").nth(1).get_by_role("button", name=stored).click()
        expect(page.locator(".learned")).to_have_text("Learned from 1 stored play of this user.")
        expect(page.get_by_text(f"Stored: {user} played “{played.name}”.").first).to_be_visible()
        assert [each.track for each in service.events.plays(user, 10)] == [played.id]
        expect(page.locator("#session-chosen li")).to_have_count(2)
        answer = client.next(user, recent, explain=True)
        shows(page, answer, "session")
        # Adding to the session shown is another thing: nothing is stored.
        added = answer.recommendations[0]
        rows(page, "session").first.get_by_role("button", name=f"Add {added.name} to").click()
        expect(page.locator("#session-chosen li").nth(2)).to_contain_text(added.name)
        shows(page, client.next(user, [*recent, added.id]), "session")
        assert [each.track for each in service.events.plays(user, 10)] == [played.id]

        page.get_by_label("User").fill("")
        expect(page.locator("#session-results [data-act=store]")).to_have_count(0)
        page.get_by_label("When").fill("2025-03-03T20:30")
        zone = page.evaluate("new Date('2025-03-03T20:30').toISOString()")
        answer = client.next(recent=[*recent, added.id], at=zone)
        shows(page, answer, "session")
        add(page, answer.recommendations[0].name, "Add a song that was played")
        expect(page.locator("#session-chosen li")).to_have_count(4)


def test_the_address_names_the_tab(open_page: Open, url: str) -> None:
    page = open_page(url)
    playlist, session = (page.get_by_role("tab", name=name) for name in ("Playlist", "Session"))

    def opened(tab: Locator, address: str) -> None:
        expect(page).to_have_url(f"{url}/{address}")
        expect(page.locator("[role=tab][aria-selected=true]")).to_have_text(tab.inner_text())
        panel = page.get_by_role("tabpanel")
        expect(panel).to_have_count(1)
        expect(panel).to_have_id(tab.get_attribute("aria-controls"))

    opened(playlist, "")
    expect(rows(page)).to_have_count(10)
    session.click()
    opened(session, "#session")
    playlist.click()
    playlist.click()
    opened(playlist, "#playlist")
    page.go_back()
    opened(session, "#session")
    expect(rows(page, "session")).to_have_count(10)
    page.go_back()
    opened(playlist, "")
    page.go_forward()
    page.go_forward()
    opened(playlist, "#playlist")
    # As typed into the address, or followed by a link; what names no tab is the first one.
    for address, tab in (("#session", session), ("#nothing", playlist), ("#session", session),
                         ("#", playlist)):  # fmt: skip
        page.evaluate("to => (location.href = to)", address)
        opened(tab, address)
    page.go_back()
    opened(session, "#session")
    page.reload()
    opened(session, "#session")
    session.focus()
    page.keyboard.press("ArrowLeft")
    opened(playlist, "#playlist")
    expect(playlist).to_be_focused()
    page.go_back()
    opened(session, "#session")
    expect(session).to_be_focused()
    page.get_by_label("User").focus()
    page.evaluate("location.hash = 'playlist'")
    opened(playlist, "#playlist")
    expect(session).not_to_be_focused()
    expect(playlist).not_to_be_focused()


def test_switching_versions(
    open_page: Open, url: str, registry: Registry, bundles: dict[str, Any]
) -> None:
    first = registry.current("playlists")
    second = registry.publish(bundles["other_playlists"])
    page = open_page(url)
    expect(page.locator("#answered")).to_contain_text(first.id)
    page.locator("#versions summary").click()
    panel = page.locator("#versions")
    for version in (first, second):
        panel.get_by_role("checkbox", name=f"Compare {version.id}").check()
    expect(panel.locator(".comparison tbody tr")).to_have_text(["recall@1000.1000+0.1000"])
    activate = panel.get_by_role("button", name=f"Activate {second.id}")
    message = panel.locator(".notice")
    activate.click()
    expect(message).to_have_text("Enter the admin token first.")
    token = panel.get_by_label("Admin token")
    expect(token).to_be_focused()
    token.fill("wrong")
    activate.click()
    expect(message).to_contain_text("token is missing or wrong")
    assert registry.current("playlists").id == first.id
    token.fill(TOKEN)
    activate.click()
    expect(message).to_have_text(f"{second.id} is served now.")
    expect(page.get_by_role("status")).to_have_text(f"{second.id} is served now.")
    expect(page.locator("#answered")).to_contain_text(second.id)
    assert registry.current("playlists").id == second.id
    panel.get_by_role("button", name="Roll playlists back").click()
    expect(page.locator("#answered")).to_contain_text(first.id)
    expect(panel.locator(".versions tr", has_text=second.id)).to_contain_text("previous")


def test_versions_are_known_by_their_main_figure(
    open_page: Open, url: str, registry: Registry, bundles: dict[str, Any], tmp_path: Path
) -> None:
    folder = shutil.copytree(bundles["sessions"], tmp_path / "sessions")
    manifest = json.loads((folder / "manifest.json").read_text())
    figures = {"by_user_type": {"casual": {"recall@10": 0.9}},
               "next_song": {"recall@10": 0.25, "ndcg@10": 0.125}}  # fmt: skip
    manifest["metrics"] = {"basic-gat": {"held_out": {"recall@10": 0.8}}, "session-aware": figures}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    version = registry.publish(folder)
    playlists, sessions = registry.current("playlists"), registry.current("sessions")
    page = open_page(url)
    page.locator("#versions summary").click()
    panel = page.locator("#versions")
    shown = panel.locator(".versions tr", has_text=version.id).locator(".metrics span")
    main = "session-aware.next_song"
    expect(shown).to_have_text([f"{main}.recall@10 0.2500", f"{main}.ndcg@10 0.1250"])

    def compare(*ids: str) -> None:
        for id in ids:
            panel.get_by_role("checkbox", name=f"Compare {id}").check()

    compare(playlists.id, version.id)
    expect(panel.locator(".compared")).to_have_text(
        f"{playlists.id} is of playlists, {version.id} of sessions: not comparable. Choose two "
        "versions of one pipeline."
    )
    expect(panel.locator("table.comparison")).to_have_count(0)
    compare(sessions.id)
    expect(panel.locator(".comparison th[scope=row]")).to_have_text([
        f"{main}.recall@10", f"{main}.ndcg@10", "recall@10", "basic-gat.held_out.recall@10",
        "session-aware.by_user_type.casual.recall@10",
    ])  # fmt: skip


def test_a_busy_server_is_asked_again(open_page: Open, url: str) -> None:
    page = open_page(url)
    for text in ("Song 12", "Song 14"):
        add(page, text)
    shows(page, complete(url, ["id12", "id14"]))
    page.clock.install()
    page.clock.pause_at(datetime.now() + timedelta(minutes=1))
    busy = {"title": "Overloaded", "status": 503, "detail": "too many requests"}

    def refuse(route: Route) -> None:
        route.fulfill(status=503, headers={"Retry-After": "2"}, json=busy)

    page.route("**/v1/playlists/complete", refuse, times=1)
    page.get_by_role("button", name="Remove Song 14").click()
    notice = page.locator("#playlist-results .state")
    expect(notice).to_contain_text("too many requests Asking again in 2 s.")
    page.clock.run_for(1000)
    expect(notice).to_contain_text("Asking again in 1 s.")
    page.clock.run_for(1000)
    shows(page, complete(url, ["id12"]))
    expect(notice).to_have_text("")
    # Offline, until somebody who can't wait presses the button.
    page.context.set_offline(True)
    rows(page).first.locator("[data-act=add]").click()
    expect(notice).to_contain_text("The server can’t be reached. Asking again in 5 s.")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again now").click()
    expect(notice).to_have_text("")
    expect(page.locator("#playlist-chosen li")).to_have_count(2)
    page.route(
        "**/v1/playlists/complete",
        lambda route: route.fulfill(status=422, json={
            "title": "Unprocessable", "status": 422, "detail": "it can't be used",
            "errors": [{"field": "title", "message": "too odd"}],
        }),
    )  # fmt: skip
    page.get_by_label("Title").fill("x")
    page.clock.run_for(1000)
    expect(notice).to_have_text("it can't be used; title: too odd")


def test_a_page_without_versions_waits_for_one(
    open_page: Open,
    settings: ServeSettings,
    bundles: dict[str, Any],
    serve: Callable[[Any], str],
    tmp_path: Path,
) -> None:
    empty = settings.model_copy(update={"registry": tmp_path / "empty"})
    service = Service(empty)
    service.start()
    page = open_page(serve(service))
    expect(page.locator("#playlist-results")).to_contain_text("no version of playlists is served")
    page.locator("#versions summary").click()
    expect(page.locator("#versions")).to_contain_text("No version is registered.")
    registry = open_registry(empty.registry)
    registry.activate(registry.publish(bundles["playlists"]).id)
    expect(rows(page)).to_have_count(10)
    page.close()
    service.close()
