// The versions panel: what is registered, what serves, and changing that.

import { ask, Refused, Unavailable } from "./api.js";
import { signed } from "./charts.js";
import { announce, byId, h } from "./dom.js";

const POLL_MS = 1000;
const POLLS = 60; // while a version loads

/**
 * @param switched (pipeline) => void, once another version is served
 * @param seen     (answer) => void, with every list of versions
 */
export function versionsPanel({ switched, seen }) {
  const panel = byId("versions");
  const body = byId("versions-body");
  const token = h("input", {
    id: "versions-token", type: "password", autocomplete: "off", spellcheck: "false",
    "aria-describedby": "versions-token-hint",
  });
  const message = h("p", { class: "notice", hidden: true });
  const table = h("div", { class: "scroll" });
  const comparison = h("div", {
    class: "scroll compared", role: "region", "aria-label": "Comparison of two versions", tabindex: "0",
    hidden: true,
  });
  let answer = { versions: [], broken: {}, failures: {} };
  let compared = [];
  let busy = false;

  body.append(
    // A form, as browsers expect around a password; there is nothing to submit.
    h("form", { class: "field token", onsubmit: (event) => event.preventDefault() },
      h("label", { for: "versions-token" }, "Admin token"), token,
      h("span", { class: "hint", id: "versions-token-hint" },
        "To activate or roll back. Kept until this page is closed, nowhere else.")),
    message, table, comparison,
  );
  panel.addEventListener("toggle", () => {
    if (panel.open) refresh();
  });

  function say(text, failed = false) {
    message.textContent = text;
    message.hidden = !text;
    message.classList.toggle("error", failed);
    if (text) announce(text);
  }

  /** True: the table shows what the server says now. */
  async function refresh() {
    try {
      ({ data: answer } = await ask("v1/versions"));
      seen(answer);
    } catch (error) {
      say(spelled(error), true);
      return false;
    }
    compared = compared.filter((id) => answer.versions.some((each) => each.id === id));
    render();
    return true;
  }

  function render() {
    const focused = document.activeElement?.dataset?.key;
    const pipelines = [...new Set(answer.versions.map((each) => each.pipeline))].sort();
    const troubles = [
      ...Object.entries(answer.failures).map(([pipeline, why]) =>
        `The current version of ${pipeline} isn’t served: ${why}`),
      ...Object.entries(answer.broken).map(([folder, why]) => `Can’t be read: ${folder} (${why})`),
    ];
    table.replaceChildren(
      ...troubles.map((text) => h("p", { class: "notice error" }, text)),
      answer.versions.length
        ? h("table", { class: "versions" },
            h("caption", { class: "unseen" }, "Registered versions"),
            h("thead", {}, h("tr", {},
              ["Compare", "Version", "Made", "State", "Metrics", "Action"].map((text) =>
                h("th", { scope: "col" }, text)))),
            h("tbody", {}, answer.versions.map(row)))
        : h("p", { class: "hint" }, "No version is registered."),
      h("p", { class: "actions" },
        pipelines
          .filter((pipeline) => answer.versions.some((each) => each.pipeline === pipeline && each.previous))
          .map((pipeline) => h("button", {
            type: "button", "data-key": `rollback ${pipeline}`, "aria-disabled": String(busy),
            onclick: () => act("v1/versions/rollback", { pipeline }),
          }, `Roll ${pipeline} back`))),
    );
    if (focused) table.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    compare();
  }

  function row(version) {
    const states = ["current", "previous", "served"].filter((state) => version[state]);
    return h("tr", { class: version.served ? "served" : null },
      h("td", {}, h("input", {
        type: "checkbox", checked: compared.includes(version.id),
        "data-key": `compare ${version.id}`, "aria-label": `Compare ${version.id}`,
        onchange: (event) => {
          compared = compared.filter((id) => id !== version.id);
          if (event.target.checked) compared = [...compared.slice(-1), version.id];
          render();
        },
      })),
      h("th", { scope: "row" }, h("bdi", { class: "id" }, version.id)),
      h("td", {}, h("time", { datetime: version.created, title: version.created }, moment(version.created))),
      h("td", {}, states.map((state) => h("span", { class: `state-${state}` }, state))),
      h("td", { class: "metrics" }, version.main.map((key) =>
        h("span", {}, `${key} ${figure(version.metrics[key])}`))),
      h("td", {}, version.current
        ? null
        : h("button", {
            type: "button", "data-key": `activate ${version.id}`, "aria-disabled": String(busy),
            "aria-label": `Activate ${version.id}`,
            onclick: () => act(`v1/versions/${encodeURIComponent(version.id)}/activate`, {}),
          }, "Activate")));
  }

  function compare() {
    comparison.hidden = !compared.length;
    const [first, second] = compared.map((id) => answer.versions.find((each) => each.id === id));
    if (!first) return;
    if (!second) {
      comparison.replaceChildren(h("p", { class: "hint" }, "Choose a second version to compare with."));
      return;
    }
    if (first.pipeline !== second.pipeline) {
      comparison.replaceChildren(h("p", { class: "comparison notice error" },
        `${first.id} is of ${first.pipeline}, ${second.id} of ${second.pipeline}: not comparable. ` +
        "Choose two versions of one pipeline."));
      return;
    }
    const others = Object.keys({ ...first.metrics, ...second.metrics }).sort();
    const keys = new Set([...first.main, ...second.main, ...others]);
    comparison.replaceChildren(
      h("table", { class: "comparison" },
        h("caption", {}, "Comparison"),
        h("thead", {}, h("tr", {},
          ["Metric", first.id, second.id, "Difference"].map((text) =>
            h("th", { scope: "col" }, h("bdi", {}, text))))),
        h("tbody", {}, [...keys].map((key) => {
          const [a, b] = [first.metrics[key], second.metrics[key]];
          return h("tr", {},
            h("th", { scope: "row" }, key),
            h("td", {}, a === undefined ? "–" : figure(a)),
            h("td", {}, b === undefined ? "–" : figure(b)),
            h("td", {}, a === undefined || b === undefined ? "–" : signed(b - a, 4)));
        }))),
    );
  }

  /** Changes what is current, then waits until it serves. */
  async function act(path, content) {
    if (busy) return;
    if (!token.value) {
      say("Enter the admin token first.", true);
      token.focus();
      return;
    }
    busy = true;
    render();
    try {
      const { data: wanted } = await ask(path, { body: content, token: token.value });
      say(`${wanted.id} is loading …`);
      await served(wanted);
    } catch (error) {
      say(spelled(error), true);
    } finally {
      busy = false;
      render();
    }
  }

  async function served(wanted) {
    for (let poll = 0; poll < POLLS; poll += 1) {
      if (await refresh()) {
        if (answer.failures[wanted.pipeline]) {
          say(`${wanted.id} isn’t served: ${answer.failures[wanted.pipeline]}`, true);
          return;
        }
        const version = answer.versions.find((each) => each.id === wanted.id);
        if (!version?.current) {
          say(`${wanted.id} is no longer current: somebody else changed it.`, true);
          return;
        }
        if (version.served) {
          say(`${wanted.id} is served now.`);
          switched(wanted.pipeline);
          return;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    say(`${wanted.id} is current, but not served yet.`, true);
  }
}

function spelled(error) {
  if (error instanceof Refused || error instanceof Unavailable) return error.message;
  throw error;
}

function figure(value) {
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(4);
}

function moment(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime())
    ? iso
    : date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}
