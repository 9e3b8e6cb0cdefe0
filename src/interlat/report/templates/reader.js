"use strict";
(() => {
  const source = document.getElementById("data");
  if (source) read(JSON.parse(source.textContent));

  const theme = document.getElementById("theme");
  let dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const label = () => { theme.textContent = dark ? "light page" : "dark page"; };
  theme.hidden = false;
  theme.addEventListener("click", () => {
    dark = !dark;
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    label();
  });
  label();

  function read(data) {
    const { words, strings, variants, games } = data;
    const VARIANT = 0, SEED = 1, WON = 2, STEPS = 3, CAP = 4, PLAN = 5, BYTES = 6, ROWS = 7, TURNS = 8, KIND = 9,
      CHANNEL = 10, REASON = 11, EVIDENCE = 12;
    const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
    const seeds = new Set(games.flatMap((game) => game.episodes.map((episode) => episode[SEED])));
    const byId = (id) => document.getElementById(id);
    const nameOf = (episode) => variants[episode[VARIANT]][0] + (seeds.size > 1 ? `, seed ${episode[SEED]}` : "");
    const roleOf = (episode) => variants[episode[VARIANT]][1];
    const LONGEST = 140;
    const askedOf = (game) => strings[game.task] || "";
    // The last line of what was asked says what is to be done.
    const taskOf = (game) => {
      const line = askedOf(game).trim().split("\n").pop() || game.item;
      return line.length > LONGEST ? `${line.slice(0, LONGEST)} …` : line;
    };
    // A token as one can see it: a space before a word is left out, one alone is not.
    const shown = (place) => strings[place].trim() || strings[place].replace(/ /g, "␣").replace(/\n/g, "⏎");
    const state = { game: null, variant: null, shown: [] };

    // Texts go in as text nodes only: nothing a game says can become markup.
    function make(tag, attributes = {}, ...children) {
      const node = document.createElement(tag);
      for (const [name, value] of Object.entries(attributes)) {
        if (name === "click") node.addEventListener("click", value);
        else if (name === "value") node.style.setProperty("--value", value);
        else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
      }
      node.append(...children);
      return node;
    }

    for (const game of games) {
      const plans = game.episodes.map((episode) => strings[episode[PLAN]]);
      game.haystack = [game.item, askedOf(game), strings[game.type], ...plans].join(" ").toLowerCase();
    }

    function won(game, variant) {
      const played = game.episodes.filter((episode) => variants[episode[VARIANT]][0] === variant);
      return played.length ? played.some((episode) => episode[WON]) : null;
    }

    const outcomes = [["any outcome", () => true]];
    const latent = (variants.find((variant) => variant[1] === "latent") || [])[0];
    for (const [other, role] of variants) {
      if (!latent || (role !== "none" && role !== "text")) continue;
      outcomes.push([`${latent} ${words.solved}, ${other} not`, (g) => won(g, latent) === true && won(g, other) === false]);
      outcomes.push([`${other} ${words.solved}, ${latent} not`, (g) => won(g, other) === true && won(g, latent) === false]);
    }
    outcomes.push([`${words.solved} by all`, (game) => game.episodes.every((episode) => episode[WON])]);
    outcomes.push([`${words.solved} by none`, (game) => game.episodes.every((episode) => !episode[WON])]);

    function fill(select, labels) {
      select.append(...labels.map((label, place) => make("option", {}, label)));
      labels.forEach((label, place) => { select.options[place].value = String(place); });
    }
    const splits = [...new Set(games.map((game) => game.split))];
    fill(byId("split"), ["all splits", ...splits]);
    fill(byId("outcome"), outcomes.map((outcome) => outcome[0]));

    function dots(game) {
      const row = make("span", { class: "dots" });
      for (const episode of game.episodes) {
        const title = `${nameOf(episode)}: ${episode[WON] ? words.solved : words.unsolved}`;
        row.append(make("span", { class: `role-${roleOf(episode)}${episode[WON] ? " won" : ""}`, title }));
      }
      row.append(make("em", {}, game.split));
      return row;
    }

    function refresh() {
      const sought = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
      const split = splits[Number(byId("split").value) - 1];
      const fits = outcomes[Number(byId("outcome").value)][1];
      state.shown = games.filter((game) =>
        (!split || game.split === split) && fits(game) && sought.every((word) => game.haystack.includes(word)));
      byId("found").textContent = `${state.shown.length} of ${games.length} ${words.items}; filled dot: ${words.solved}`;
      byId("list").replaceChildren(...state.shown.map((game) => {
        game.button = make("button", { type: "button", click: () => open(game) }, taskOf(game), dots(game));
        return make("li", {}, game.button);
      }));
      if (state.shown.length && !state.shown.includes(state.game)) open(state.shown[0], false);
      else render();
    }

    function open(game, remember = true) {
      state.game = game;
      if (remember) {
        const place = new URLSearchParams({ game: game.item, split: game.split, variant: state.variant || "" });
        history.replaceState(null, "", `#${place}`);
      }
      render();
    }

    function chosenEpisode(game) {
      return game.episodes.find((episode) => nameOf(episode) === state.variant)
        || game.episodes.find((episode) => roleOf(episode) === "latent") || game.episodes[0];
    }

    function received(episode) {
      const name = variants[episode[VARIANT]][0], kind = strings[episode[KIND]];
      const size = `${episode[BYTES].toLocaleString("en")} bytes`;
      const what = kind === "cache" ? "a KV cache" : kind === "text" ? "words" : `${episode[ROWS]} rows of hidden states`;
      const subject = `The ${words.receiver}`;
      if (!words.sender) return `Messages between the members: ${size}.`;
      if (kind === "none" || !kind) {
        return roleOf(episode) === "control" ? `Under ${name} the ${words.receiver} received no message.`
          : `${subject} received nothing.`;
      }
      if (roleOf(episode) === "control") {
        return `Under ${name} the ${words.receiver} did not receive this message but ${what} made by the control (${size}).`;
      }
      return `${subject} received ${kind === "text" ? "the plan above as text" : what} (${size}).`;
    }

    // Of several draws of the notes one was inspected: the rows of the others are not known.
    const evidenceOf = (game, episode) => strings[episode[EVIDENCE]] || strings[game.evidence];
    const isInspected = (game, episode) => !strings[game.evidence] || evidenceOf(game, episode) === strings[game.evidence];
    // The rows of the messages of the episode's channel, or those of every channel.
    const rowsOf = (game, episode) =>
      isInspected(game, episode) && (game.rows[strings[episode[CHANNEL]]] || game.rows[""]) || [];

    function turnList(episode) {
      const turns = make("ol", { class: "turns" });
      for (let place = 0; place < episode[TURNS].length; place += 2) {
        turns.append(make("li", {},
          make("p", { class: "action" }, strings[episode[TURNS][place]]),
          make("p", { class: "observation" }, strings[episode[TURNS][place + 1]])));
      }
      const won = episode[WON] ? words.solved : words.unsolved, reason = strings[episode[REASON]];
      const end = episode[CAP] === 1 ? `${capital(won)}${reason ? `: ${reason}` : ""}.`
        : episode[WON] ? `${capital(won)} after ${episode[STEPS]} steps (cap ${episode[CAP]}).`
          : `${capital(won)}: ended after ${episode[STEPS]} of at most ${episode[CAP]} steps.${reason ? ` ${reason}.` : ""}`;
      return [turns, make("p", { class: `end ${episode[WON] ? "better" : "worse"}` }, end)];
    }

    function latentRows(rows, faint) {
      const list = make("ol", { class: `latents${faint ? " faint" : ""}` });
      list.append(make("li", { class: "legend" }, make("span", { class: "number" }, "row"),
        make("span", { class: "nearest" }, "nearest tokens with their probability"),
        make("span", { class: "number", title: "entropy over all tokens, in nats" }, "nats"),
        make("span", { class: "number norm", title: "Euclidean norm of the row" }, "norm")));
      if (rows.some((row) => Array.isArray(row[row.length - 1]))) {
        list.append(make("li", { class: "legend read" }, make("span", { class: "number" }, "→"),
          make("span", { class: "nearest" }, `what the ${words.receiver} reads: most similar embeddings, cosine`),
          make("span", { class: "number", title: "share of attention where the reply begins" }, "sees"),
          make("span", { class: "number norm" }, "norm")));
      }
      for (const [position, said, norm, entropy, ...rest] of rows) {
        const read = Array.isArray(rest[rest.length - 1]) ? rest.pop() : null, top = rest;
        const row = make("li", { title: `row ${position}, token ${shown(said)}` });
        row.append(make("span", { class: "number" }, String(position)));
        for (let place = 0; place < 10; place += 2) {
          if (place >= top.length) { row.append(make("span")); continue; }
          const percent = top[place + 1] / 10;
          row.append(make("span", { class: "chance", title: `${shown(top[place])}: ${percent} %` },
            make("span", {}, shown(top[place])), make("span", { class: "meter", value: `${percent}%` })));
        }
        row.append(make("span", { class: "number" }, entropy.toFixed(2)),
          make("span", { class: "number norm" }, norm.toFixed(1)));
        list.append(row);
        if (read) list.append(readRow(position, read));
      }
      return list;
    }

    // What the receiver makes of the row: the embeddings that it resembles, its norm there, and its share of attention.
    function readRow(position, [norm, attention, ...near]) {
      const row = make("li", { class: "read", title: `row ${position} as the ${words.receiver} reads it` },
        make("span", { class: "number" }, "→"));
      for (let place = 0; place < 10; place += 2) {
        if (place >= near.length) { row.append(make("span")); continue; }
        const cosine = near[place + 1] / 1000;
        row.append(make("span", { class: "chance", title: `${shown(near[place])}: cosine ${cosine.toFixed(2)}` },
          make("span", {}, shown(near[place])), make("span", { class: "meter", value: `${Math.max(0, 100 * cosine)}%` })));
      }
      const share = `share of the ${words.receiver}'s attention where its reply begins`;
      row.append(make("span", { class: "number", title: share },
        attention === null ? "" : `${attention.toFixed(1)}%`),
        make("span", { class: "number norm", title: "norm of the row that is read" }, norm.toFixed(1)));
      return row;
    }

    function render() {
      const game = state.game;
      for (const other of state.shown) {
        if (other === game) other.button.setAttribute("aria-current", "true");
        else other.button.removeAttribute("aria-current");
      }
      if (!game) { byId("game").replaceChildren(make("p", { class: "quiet" }, `No ${words.item} fits.`)); return; }
      const episode = chosenEpisode(game);
      const place = state.shown.indexOf(game);
      const step = (by, label) => make("button", {
        type: "button", disabled: !state.shown[place + by], click: () => {
          open(state.shown[place + by]);
          state.game.button.scrollIntoView({ block: "nearest" });
        },
      }, label);
      const tabs = make("div", { class: "tabs", role: "group", "aria-label": "Variant" });
      for (const other of game.episodes) {
        tabs.append(make("button", {
          type: "button", class: `role-${roleOf(other)}${other[WON] ? " won" : ""}`,
          "aria-pressed": other === episode ? "true" : "false",
          click: () => { state.variant = nameOf(other); open(game); },
        }, nameOf(other)));
      }
      const scout = make("div", {});
      const tell = (title, text) => text && scout.append(make("h4", {}, title), make("p", { class: "told" }, text));
      if (askedOf(game).trim() !== taskOf(game)) tell("What was asked", askedOf(game));
      tell(`What only the ${words.sender} knows`, evidenceOf(game, episode));
      tell("The plan it wrote", strings[episode[PLAN]] || strings[game.plan]);
      tell("The answer it stands for", strings[game.answer]);
      const told = make("p", { class: "quiet" }, received(episode));
      const rows = rowsOf(game, episode);
      if (rows.length) {
        scout.append(make("h4", {}, "What each row of its latents decodes to"), told,
          latentRows(rows, roleOf(episode) !== "latent"));
      } else {
        scout.append(told);
      }
      byId("game").replaceChildren(
        make("div", { class: "head" },
          make("div", {}, make("h3", {}, taskOf(game)),
            make("p", { class: "quiet where" }, [game.split, strings[game.type], game.item].filter(Boolean).join(" · "))),
          make("div", { class: "step-buttons" }, step(-1, "previous"), step(1, "next"))),
        tabs,
        make("div", { class: "sides" },
          make("div", {},
            make("h4", {}, `The ${words.item}, ${words.played_by} (${nameOf(episode)})`),
            ...turnList(episode)),
          scout));
    }

    const wanted = new URLSearchParams(location.hash.slice(1));
    state.variant = wanted.get("variant");
    state.game = games.find((game) => game.item === wanted.get("game") && game.split === wanted.get("split"))
      || games[0];
    for (const id of ["search", "split", "outcome"]) byId(id).addEventListener("input", refresh);
    byId("reader").hidden = false;
    refresh();
  }
})();
