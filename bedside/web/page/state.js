// Which state is shown. A picture is shown as what it is only while it is fresh; nothing here makes it better.

export const STATES = {
  live: { symbol: "●", word: "LIVE" },
  late: { symbol: "▲", word: "LATE" },
  unsure: { symbol: "?", word: "UNSURE" },
  stale: { symbol: "◐", word: "STALE" },
  failed: { symbol: "✕", word: "FAILED" },
  dropped: { symbol: "▽", word: "DROPPED" },
  waiting: { symbol: "○", word: "NO IMAGES YET" },
  lost: { symbol: "⊘", word: "NO CONNECTION" },
};

export function seconds(ms) {
  return ms < 60_000 ? `${(ms / 1e3).toFixed(1)} s` : `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1e3)} s`;
}

/**
 * The state of one moment.
 *
 * `message` is the newest one or null; `nowS` is the server's clock as far as this page knows it; `lost` says in words
 * why nothing is heard from the server, or is empty. Returns state, reason, whether the picture is to be veiled, and
 * how old it is (null without one).
 */
export function judge(message, nowS, lost) {
  const story = message?.story;
  const picture = story?.picture ?? null;
  const ageMs = picture === null ? null : Math.max(0, (nowS - picture.arrived_s) * 1e3);
  const shown = (state, reason, veiled) => ({ state, reason, veiled, ageMs });
  if (lost) {
    return shown("lost", lost, true);
  }
  if (!story) {
    return shown("waiting", "the server runs; no frame has come", true);
  }
  const { newest, problem } = story;
  const old = ageMs === null || ageMs > message.facts.stale_ms;
  if (problem) {
    return shown("failed", `this page could not draw: ${problem}`, true);
  }
  // A failure stays until a mask comes; a drop between masks is counted, and does not hide them.
  if (newest.state === "failed") {
    return shown("failed", newest.reason, true);
  }
  if (!old) {
    return shown(picture.state, picture.reason, picture.state === "stale");
  }
  if (newest.state === "dropped" && (nowS - newest.answered_s) * 1e3 <= message.facts.stale_ms) {
    return shown("dropped", newest.reason, true);
  }
  return shown("stale", "no new mask", true);
}
