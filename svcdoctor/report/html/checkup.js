"use strict";
// Findings and objects out of the page's JSON, made when they come into view; one box filters both.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { strings, rows, findings, verdicts, severities, tones, marks } = data;
  const SVG = "http://www.w3.org/2000/svg";

  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const name in attributes) element.setAttribute(name, attributes[name]);
    element.append(...children.filter(child => child !== null && child !== ""));
    return element;
  };
  const mark = status => {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("class", "mark");
    svg.setAttribute("viewBox", "-9 -9 18 18");
    svg.setAttribute("aria-hidden", "true");
    const group = document.createElementNS(SVG, "g");
    group.setAttribute("class", `sign ${status}`);
    const circle = document.createElementNS(SVG, "circle");
    circle.setAttribute("r", "8");
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", marks[status]);
    group.append(circle, path);
    svg.append(group);
    return svg;
  };
  const list = (title, lines, open) => {
    if (!lines.length) return null;
    const items = make("ul", {}, ...lines.map(line => make("li", {}, line)));
    const details = make("details", { class: "evidence" }, make("summary", {}, title), items);
    details.open = open;
    return details;
  };

  const body = finding => {
    const [, , , subjects, evidence, why, fix, where, affects, affected] = finding;
    const inner = make("div", { class: "inner" });
    if (subjects.length > 1) inner.append(make("p", { class: "where" }, `also: ${subjects.slice(1).join(", ")}`));
    if (where) inner.append(make("p", { class: "where" }, make("span", {}, "at ", make("code", {}, where))));
    for (const line of strings[why].split("\n")) if (line) inner.append(make("p", { class: "why" }, line));
    inner.append(...[list("Evidence", evidence, true)].filter(Boolean));
    const more = affected > affects.length ? [`and ${affected - affects.length} more`] : [];
    inner.append(...[list(`Affects ${affected}`, [...affects, ...more], affected <= 5)].filter(Boolean));
    if (fix) {
      const button = make("button", { type: "button", class: "copy" }, "Copy");
      const row = make("div", { class: "row" }, make("h4", {}, "Fix"), button);
      inner.append(make("div", { class: "fix" }, row, make("pre", {}, make("code", {}, fix))));
    }
    return inner;
  };
  const card = finding => {
    const [code, severity, title, subjects] = finding;
    const name = severities[severity];
    const badge = make("span", { class: "badge" }, mark(data.signs[name]), name);
    const head = make(
      "summary", {}, badge, make("code", { class: "code" }, code),
      make("h3", {}, strings[title]), make("code", { class: "subject" }, subjects[0] || ""),
    );
    const details = make("details", { class: `finding ${tones[name]}` }, head);
    details.fill = () => {
      if (details.childElementCount === 1) details.append(body(finding));
    };
    details.addEventListener("toggle", () => {
      if (details.open) details.fill();
    });
    return details;
  };
  const line = row => {
    const [kind, namespace, name, verdict, codes, type, ports, endpoints] = row;
    const word = verdicts[verdict];
    return make(
      "tr", {},
      make("td", { class: "nowrap" }, mark(data.signs[word]), word),
      make("th", { scope: "row" }, `${strings[kind]} `, make("code", {}, namespace ? `${namespace}/${name}` : name)),
      make("td", { class: "mono" }, codes.map(code => strings[code]).join(", ")),
      make("td", { class: "nowrap" }, endpoints ? `${endpoints[0]}/${endpoints[1]} ready` : ""),
      make("td", {}, strings[type]),
      make("td", { class: "mono" }, strings[ports]),
    );
  };

  // A part of the page: all its items, those that the filter lets through, and how many of them are made.
  const part = (id, items, step, text, element) => {
    const holder = document.getElementById(id);
    if (!holder) return { filter() {}, whole() {}, holder: document.createElement("div") };
    const further = document.getElementById(`${id}-further`);
    const count = document.getElementById(`${id}-count`);
    const words = items.map(item => text(item).toLowerCase());
    let chosen = items;
    let shown = 0;
    const extend = to => {
      const until = Math.min(chosen.length, to);
      holder.append(...chosen.slice(shown, until).map(element));
      shown = until;
      further.hidden = shown === chosen.length;
      further.textContent = `Show more (${(chosen.length - shown).toLocaleString("en")} left)`;
      const all = items.length.toLocaleString("en");
      count.textContent = chosen.length === items.length ? all : `${chosen.length.toLocaleString("en")} of ${all}`;
    };
    further.addEventListener("click", () => {
      const first = shown;
      extend(shown + step);
      const next = holder.children[first];
      if (next) (next.querySelector("summary") || next).focus();
    });
    return {
      filter(terms, keep) {
        chosen = items.filter((item, i) => keep(item) && terms.every(term => words[i].includes(term)));
        holder.replaceChildren();
        shown = 0;
        extend(step);
      },
      whole() {
        extend(Math.max(shown, 500));
        for (const child of holder.children) child.fill?.();
      },
      holder,
    };
  };
  const parts = [
    part("findings", findings, 25, f => [f[0], strings[f[2]], severities[f[1]], ...f[3], ...f[8], f[7]].join(" "), card),
    part(
      "objects", rows, 100,
      r => [strings[r[0]], `${r[1]}/${r[2]}`, verdicts[r[3]], ...r[4].map(c => strings[c]), strings[r[5]], strings[r[6]]].join(" "),
      line,
    ),
  ];

  const box = document.getElementById("filter") || document.createElement("input");
  const tiles = [...document.querySelectorAll("button.tile")];
  const apply = () => {
    const terms = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const pressed = new Set(tiles.filter(t => t.getAttribute("aria-pressed") === "true").map(t => t.dataset.verdict));
    parts[0].filter(terms, () => true);
    parts[1].filter(terms, row => !pressed.size || pressed.has(verdicts[row[3]]));
  };
  let waiting = 0;
  box.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(apply, 80);
  });
  for (const tile of tiles) {
    tile.addEventListener("click", () => {
      tile.setAttribute("aria-pressed", String(tile.getAttribute("aria-pressed") !== "true"));
      apply();
    });
  }
  document.addEventListener("click", event => {
    const chosen = event.target.closest("button.code");
    if (!chosen) return;
    box.value = chosen.textContent;
    apply();
    document.getElementById("wrong").scrollIntoView();
    box.focus({ preventScroll: true });
  });
  document.addEventListener("keydown", event => {
    const typing = event.target.closest("input,textarea,select");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      box.focus();
      box.select();
    } else if (event.key === "Escape" && event.target === box && box.value) {
      box.value = "";
      apply();
    }
  });
  addEventListener("beforeprint", () => parts.forEach(each => each.whole()));

  apply();
  for (const details of [...parts[0].holder.children].slice(0, 3)) details.open = true;
  document.documentElement.dataset.ready = "yes";
})();
