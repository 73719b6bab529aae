"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const make = (tag, text, parent, name) => {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    if (name) element.className = name;
    if (parent) parent.append(element);
    return element;
  };
  const press = (buttons, chosen) =>
    buttons.forEach((b) => b.setAttribute("aria-pressed", String(b === chosen)));

  // Leaderboard: details, search, filter, sort.
  const board = document.querySelector(".board");
  const groups = all("tbody", board);
  const toggle = (group, open) => {
    const button = group.querySelector(".open button");
    button.setAttribute("aria-expanded", String(open));
    group.querySelector(".detail").hidden = !open;
  };
  groups.forEach((group) => {
    group.querySelector(".open button").hidden = false;
    toggle(group, false);
    group.rows[0].addEventListener("click", () => {
      if (String(getSelection())) return;
      toggle(group, group.querySelector(".detail").hidden);
    });
    group.words = group.textContent.toLowerCase();
  });
  all("[hidden].filters, [hidden].bar").forEach((bar) => { bar.hidden = false; });
  const find = document.getElementById("find");
  const shows = all("[data-show]");
  let show = "all";
  const more = document.querySelector(".more");
  const START = 12;
  let long = groups.length <= START + 4;
  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    const short = !long && show === "all" && !words.length;
    more.hidden = !short;
    all("tbody", board).forEach((group, place) => {
      const fits = !(short && place >= START) && (show === "all" || group.dataset.group === show)
        && words.every((word) => group.words.includes(word));
      group.hidden = !fits;
      count += fits;
    });
    document.getElementById("found").textContent = `${count} of ${groups.length} shown`;
  };
  find.addEventListener("input", filter);
  more.addEventListener("click", () => { long = true; filter(); });
  filter();
  shows.forEach((button) => button.addEventListener("click", () => {
    show = button.dataset.show;
    press(shows, button);
    filter();
  }));
  const heads = all("[data-sort]", board);
  heads.forEach((head) => {
    const label = head.textContent;
    head.textContent = "";
    const button = make("button", label, head);
    button.type = "button";
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = head.dataset.sort;
      const value = (group) => (key in group.dataset ? Number(group.dataset[key]) : NaN);
      const order = groups.map((group, place) => [value(group), place, group]);
      order.sort(([a, i], [b, j]) => {
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b) || i - j;
        return (up ? a - b : b - a) || i - j;
      });
      board.append(...order.map(([, , group]) => group));
      filter();
    });
  });

  // Commands and formulas can be copied.
  if (navigator.clipboard) {
    all(".commands dd, .copy").forEach((line) => {
      const text = line.querySelector("code").textContent;
      const button = make("button", "Copy", line, "copied");
      button.type = "button";
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(text);
          button.textContent = "Copied";
        } catch {
          button.textContent = "Not allowed";
        }
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
    });
  }

  // Reasoning graph.
  const canvas = document.querySelector(".canvas");
  if (!canvas) return;
  const panel = document.querySelector(".node-detail");
  const graphs = all(".dag", canvas);
  const switches = all("[data-graph]");
  let scale = 1;
  const zoom = (factor) => {
    scale = Math.min(2.5, Math.max(0.2, scale * factor));
    graphs.forEach((graph) => {
      const box = graph.viewBox.baseVal;
      graph.setAttribute("width", box.width * scale);
      graph.setAttribute("height", box.height * scale);
    });
  };
  all("[data-zoom]").forEach((b) => b.addEventListener("click", () => zoom(Number(b.dataset.zoom))));
  const reveal = (name) => {
    graphs.forEach((graph) => { graph.toggleAttribute("hidden", graph.dataset.name !== name); });
    press(switches, switches.find((b) => b.dataset.graph === name));
  };
  switches.forEach((b) => b.addEventListener("click", () => reveal(b.dataset.graph)));

  const unpack = async () => {
    const packed = atob(document.getElementById("details").textContent.trim());
    const bytes = Uint8Array.from(packed, (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  };
  const nodes = "DecompressionStream" in window ? unpack() : Promise.reject(new Error("old browser"));
  nodes.catch(() => {
    panel.textContent = "This browser is too old to open nodes; the JSON record has them all.";
  });
  // Everything below goes through textContent: it was written by a language model.
  const field = (name, value) => {
    if (value === null || value === "" || value === undefined) return;
    const title = name.replaceAll("_", " ");
    if (typeof value === "object") {
      const entries = Object.entries(value);
      if (!entries.length) return;
      make("h4", title, panel);
      const flat = entries.every(([, item]) => item === null || typeof item !== "object");
      if (!flat) make("pre", JSON.stringify(value, null, 2), panel);
      else make("p", entries.map(([key, item]) => (
        Array.isArray(value) ? `• ${item}` : `${key.replaceAll("_", " ")}: ${tidy(item)}`
      )).join("\n"), panel);
      return;
    }
    make("h4", title, panel);
    const code = ["prompt", "answer", "source", "formula", "code", "latex"].includes(name);
    make(code || String(value).includes("\n") ? "pre" : "p", tidy(value), panel);
  };
  const tidy = (value) => (
    typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(5))) : String(value)
  );
  const pick = async (index) => {
    const node = (await nodes)[index];
    all(".node", canvas).forEach((n) => n.classList.toggle("picked", n.dataset.i === String(index)));
    all(".edge", canvas).forEach((edge) => edge.classList.toggle("lit", edge.dataset.ends.split(" ").includes(String(index))));
    panel.textContent = "";
    make("h3", `${node.title} `, panel);
    make("p", node.kind, panel, "hint");
    make("p", node.label, panel);
    Object.entries(node.body).forEach(([name, value]) => field(name, value));
    field("cost", node.cost);
    if (node.links.length) {
      make("h4", "connected with", panel);
      const box = make("div", null, panel, "links");
      node.links.forEach(([kind, title, other]) => {
        const button = make("button", `${kind.replaceAll("_", " ")} ${title}`, box);
        button.type = "button";
        button.addEventListener("click", () => show_node(other));
      });
    }
    panel.scrollTop = 0;
  };
  const show_node = (index) => {
    const here = () => canvas.querySelector(`.dag:not([hidden]) .node[data-i="${Number(index)}"]`);
    if (!here()) reveal("all");
    const node = here();
    pick(index);
    if (!node) return;
    const box = node.getBoundingClientRect();
    const frame = canvas.getBoundingClientRect();
    canvas.scrollBy(box.left - frame.left - frame.width / 2 + box.width / 2,
      box.top - frame.top - frame.height / 2 + box.height / 2);
  };
  all(".node", canvas).forEach((node) => {
    node.addEventListener("click", () => pick(Number(node.dataset.i)));
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      pick(Number(node.dataset.i));
    });
  });
  const on = (kind) => all(`.dag:not([hidden]) .node.on.k-${kind}`, canvas).pop();
  const last = on("mechanism") || on("code") || on("result");
  if (graphs.length) {
    const fit = (canvas.clientWidth - 4) / graphs[0].viewBox.baseVal.width;
    zoom(fit < 0.6 ? 0.95 : Math.min(1, Math.max(0.72, fit)));
  }
  if (last) nodes.then(() => show_node(Number(last.dataset.i)), () => {});
})();
