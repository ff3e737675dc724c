// Asks for the newest message, again and again, and shows it. Whatever stops, the picture stops looking live.

import { drawStrip, drawVolumes } from "./charts.js";
import { drawMosaic } from "./mosaic.js";
import { STATES, judge, seconds } from "./state.js";

const SILENCE_MS = 2500; // The server answers at least once a second.
const RETRY_MS = 500;
const TICK_MS = 100;
const LIT_S = 2;

const element = (id) => document.getElementById(id);
// Words that stay the same are left alone: screen readers say what changes.
const put = (id, words) => {
  if (element(id).textContent !== String(words)) {
    element(id).textContent = words;
  }
};
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const drawn = () => (document.hidden ? sleep(RETRY_MS) : new Promise((done) => requestAnimationFrame(done)));

let message = null;
let heardMs = performance.now();
let lost = "no answer yet";
let place = 0; // 0: nobody chose.
let falling = [];

function parse(buffer) {
  const view = new DataView(buffer);
  const [head, story] = [view.getUint32(0, true), view.getUint32(4, true)];
  const text = (from, length) => JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, from, length)));
  return { ...text(8, head), story: text(8 + head, story), pixels: new Uint8Array(buffer, 8 + head + story) };
}

const nowS = () => (message === null ? 0 : message.now_s + (performance.now() - heardMs) / 1e3);

/** The source to ask for: one that is shown stays while it gives pictures, then any that does. */
function wanted() {
  return place || (message !== null && !judge(message, nowS(), "").veiled ? message.place : 0);
}

async function follow() {
  for (;;) {
    const silence = new AbortController();
    const timer = setTimeout(() => silence.abort(), SILENCE_MS);
    try {
      const asked = `newest?run=${message?.run ?? ""}&after=${message?.number ?? 0}&place=${wanted()}`;
      const response = await fetch(asked, { signal: silence.signal, cache: "no-store" });
      // The message is as old as its first byte, however long the rest takes.
      const firstMs = performance.now();
      if (!response.ok) {
        throw new Error(await response.text());
      }
      take(parse(await response.arrayBuffer()), firstMs);
    } catch (error) {
      lost = error.name === "AbortError" ? "the server does not answer"
        : error instanceof TypeError ? "the server cannot be reached" : String(error.message);
      show();
      await sleep(RETRY_MS);
    } finally {
      clearTimeout(timer);
    }
    await drawn();
  }
}

function take(next, firstMs) {
  // Taken as shown only once it is drawn: words of this frame must not stand beside the picture of another.
  if (message === null || next.run !== message.run || next.number !== message.number) {
    draw(next);
  }
  message = next;
  heardMs = firstMs;
  lost = "";
  show();
}

function draw({ story, facts, pixels }) {
  const picture = story?.picture;
  if (picture) {
    const half = pixels.length / 2;
    drawMosaic(element("mosaic"), picture, pixels.subarray(0, half), pixels.subarray(half), facts.colours);
  }
  drawStrip(element("strip"), story?.latencies ?? [], facts.budget_ms);
}

/**
 * Lift the veils until the picture gets stale. They are down by the style sheet and come down by the browser's own
 * clock: no script has to run for that.
 */
function lift(verdict) {
  falling.forEach((animation) => animation.cancel());
  // While the veil is down the script's word counts.
  element("state").lastElementChild.hidden = verdict.veiled;
  if (verdict.veiled) {
    return;
  }
  const delay = Math.max(0, message.facts.stale_ms - verdict.ageMs);
  const lifted = (target, up) => target.animate([up, up], { duration: delay, fill: "none" });
  falling = [
    ...[...document.querySelectorAll(".falls")].map((veil) => lifted(veil, { opacity: 0 })),
    lifted(element("mosaic"), { filter: "none" }),
  ];
}

function show() {
  const verdict = judge(message, nowS(), silent());
  const { symbol, word } = STATES[verdict.state];
  document.body.className = `state-${verdict.state}`;
  put("symbol", symbol);
  put("word", word);
  put("reason", verdict.reason);
  document.title = `${symbol} ${word} - CineRT`;
  put("veil-word", verdict.veiled ? word : "STALE");
  put("veil-age", verdict.ageMs === null ? "no picture yet"
    : verdict.veiled ? `picture is ${seconds(verdict.ageMs)} old` : "not the heart as it is now");
  lift(verdict);
  if (message !== null) {
    figures(verdict);
    drawVolumes(element("volumes"), message.story?.volumes ?? [], nowS(), message.facts.colours);
  }
}

function silent() {
  return lost || (performance.now() - heardMs > SILENCE_MS ? "nothing is heard from the server" : "");
}

function figures(verdict) {
  const { story, facts, places } = message;
  const fresh = !verdict.veiled, counts = story?.counts ?? {};
  put("fps", fresh && story.fps !== null ? story.fps.toFixed(1) : "–");
  put("latency", fresh ? story.picture.total_ms.toFixed(1) : "–");
  put("quality", fresh && story.picture.quality !== null ? story.picture.quality.toFixed(2) : "–");
  put("dropped", counts.dropped ?? 0);
  put("failed", counts.failed ?? 0);
  const drop = story?.latencies.findLast(([, , state]) => state === "dropped");
  element("drops").className = drop && nowS() - drop[0] < LIT_S ? "lit" : "";
  element("tally").replaceChildren(...Object.entries(counts).flatMap(([state, count]) => [
    swatch(`var(--${state})`), `${count} ${state}`,
  ]));
  put("facts", `${facts.source} · bundle ${facts.bundle.slice(0, 16)} · ${facts.device} · budget ${facts.budget_ms} ms`
    + ` · stale after ${facts.stale_ms} ms`);
  if (element("legend").childElementCount === 0) {
    for (const [name, colour] of Object.entries(facts.colours)) {
      element("legend").append(swatch(`rgb(${colour.join(" ")})`), name.toUpperCase());
    }
  }
  choose(places);
}

function swatch(colour) {
  const box = document.createElement("span");
  box.className = "swatch";
  box.style.background = colour;
  return box;
}

function choose(places) {
  const nav = element("places");
  const numbers = places.length > 1 ? places : [];
  if (nav.dataset.places !== String(numbers)) {
    nav.dataset.places = String(numbers);
    nav.replaceChildren(...numbers.map((number) => {
      const button = document.createElement("button");
      button.textContent = `client ${number}`;
      button.addEventListener("click", () => { place = number; });
      return button;
    }));
  }
  [...nav.children].forEach((button, at) => button.setAttribute("aria-pressed", String(numbers[at] === message.place)));
}

window.addEventListener("resize", () => message !== null && draw(message));
window.addEventListener("error", () => { lost = "this page failed; load it again"; });
setInterval(show, TICK_MS);
follow();
