// The status page: asks status.json every few seconds and shows it. All that is shown becomes text, never markup.
"use strict";

const POLL_MS = 3000;
const HIDDEN_POLL_MS = 15000;
const MAX_POLL_MS = 30000;
const PATIENCE_MS = 5000;
const MAX_SHOWN = 400;
const MAX_ROWS = 300;
const UNPRINTABLE = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

const STEP_NAMES = {
  announced: "Announced",
  dealt: "Dealing",
  prepared: "Prepare",
  committed: "Commit",
  certified: "Certified",
};

const state = { data: null, receivedAt: 0, answeredAt: null, failures: 0, reason: "", timer: null, asking: false };

// ----- values to text

function text(value) {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value === "boolean") return value ? "yes" : "no";
  const plain = (typeof value === "object" ? JSON.stringify(value) : String(value)).replace(UNPRINTABLE, "\ufffd");
  return plain.length > MAX_SHOWN ? plain.slice(0, MAX_SHOWN - 1) + "…" : plain;
}

function list(value) {
  return Array.isArray(value) ? value.slice(0, MAX_ROWS) : [];
}

function record(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};
}

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function short(value, kept = 10) {
  const plain = text(value);
  return plain.length > kept + 1 ? plain.slice(0, kept) + "…" : plain;
}

function duration(seconds) {
  if (!isNumber(seconds)) return "–";
  const whole = Math.max(0, Math.floor(seconds));
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => whole >= size);
  if (first === -1) return "0 s";
  const [name, size] = units[first];
  const shown = `${Math.floor(whole / size)} ${name}`;
  const next = units[first + 1];
  const rest = next ? Math.floor((whole % size) / next[1]) : 0;
  return rest ? `${shown} ${rest} ${next[0]}` : shown;
}

function clock(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function moment(unixSeconds) {
  if (!isNumber(unixSeconds)) return "–";
  const date = new Date(unixSeconds * 1000);
  return Number.isNaN(date.getTime()) ? "–" : date.toISOString().slice(0, 19).replace("T", " ") + " UTC";
}

// ----- text to the document

function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const span = (kind, value) => make("span", { class: kind }, text(value));
const tag = (kind, value) => span(`tag ${kind}`, value);

// Change a node's children into the wanted ones and touch nothing that is the same: what is selected or read stays.
function morph(target, wanted) {
  const present = Array.from(target.childNodes);
  wanted.forEach((want, index) => {
    const have = present[index];
    if (have === undefined) {
      target.append(want);
    } else if (have.nodeName !== want.nodeName) {
      have.replaceWith(want);
    } else if (want.nodeType === Node.TEXT_NODE) {
      if (have.data !== want.data) have.data = want.data;
    } else {
      for (const { name } of Array.from(have.attributes)) {
        if (!want.hasAttribute(name)) have.removeAttribute(name);
      }
      for (const { name, value } of Array.from(want.attributes)) {
        if (have.getAttribute(name) !== value) have.setAttribute(name, value);
      }
      morph(have, Array.from(want.childNodes));
    }
  });
  present.slice(wanted.length).forEach((node) => node.remove());
}

function put(id, ...children) {
  morph(document.getElementById(id), children.map((child) => (typeof child === "string" ? document.createTextNode(child) : child)));
}

function rows(id, labels, made) {
  const body = document.querySelector(`#${id} tbody`);
  const filled = made.length ? made : [[make("span", { class: "soft" }, "none yet")]];
  morph(body, filled.map((cells) => make("tr", { role: "row" }, ...cells.map((cell, column) => {
    const name = column === 0 ? "th" : "td";
    const numeric = document.querySelectorAll(`#${id} thead th`)[column]?.classList.contains("num");
    const content = Array.isArray(cell) ? cell : [cell];
    const role = column === 0 ? "rowheader" : "cell";
    const attributes = { role, "data-label": labels[column], class: numeric ? "num" : null, scope: column === 0 ? "row" : null };
    return make(name, attributes, make("div", {}, ...content));
  }))));
}

function pairs(id, entries) {
  put(id, ...entries.flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, ...(Array.isArray(value) ? value : [value]))]));
}

// ----- the parts of the page

function showVerdict() {
  const { data } = state;
  const gone = state.failures > 0;
  const since = state.answeredAt === null ? null : moment(state.answeredAt / 1000).slice(11);
  const health = gone ? "gone" : data === null ? "unknown" : text(data.health);
  document.body.dataset.health = health;
  let line = health.charAt(0).toUpperCase() + health.slice(1);
  let reasons = [];
  if (gone) {
    line = since === null ? "No answer from the node" : `No answer since ${since}`;
    reasons = [state.reason, since === null ? "it may be down, or another port is right" : "what is below is what it said last"];
  } else if (data === null) {
    line = "asking the node…";
  } else {
    const [first, ...others] = list(data.reasons).map(text);
    if (first !== undefined) line += `: ${first}`;
    reasons = others;
  }
  put("verdict", line);
  put("reasons", ...reasons.map((reason) => make("li", {}, text(reason))));
  document.getElementById("reasons").hidden = reasons.length === 0;
  document.title = `${gone ? "No answer" : health === "unknown" ? "…" : line.split(":")[0]} · eigenkms node`;
}

function showTiles(data) {
  const next = record(data.next_boundary);
  const canary = record(data.canary);
  const others = list(data.members).map(record).filter((member) => !member.former);
  const here = others.filter((member) => member.me || member.proven);
  const tile = (id, label, value, hint) => make(
    "li", { id }, make("span", { class: "label" }, label), make("span", { class: "value" }, value), make("span", { class: "hint" }, hint),
  );
  const tiles = [
    tile("tile-next", "Next boundary", countdown(), isNumber(next.block) ? `block ${next.block}, ${text(next.blocks)} to go` : "the chain was not read yet"),
    tile("tile-version", "Newest version", text(data.version), versionHint(data)),
    tile("tile-operators", "Operators connected", `${here.length} of ${others.length}`, "this node among them"),
    tile("tile-head", "Block", text(data.head), text(record(data.chain).finality)),
  ];
  if (typeof canary.ok === "boolean") {
    tiles.push(tile("tile-canary", "Trial decryption", canary.ok ? "works" : "fails", isNumber(canary.seconds) ? `took ${canary.seconds.toFixed(2)} s` : text(canary.reason)));
  }
  put("tiles", ...tiles);
}

function versionHint(data) {
  if (!isNumber(data.version)) return "no key was made yet";
  return data.share ? "share held" : "no share";
}

function secondsLeft() {
  const next = record(record(state.data).next_boundary);
  if (!isNumber(next.seconds)) return null;
  return next.seconds - (performance.now() - state.receivedAt) / 1000;
}

function countdown() {
  const left = secondsLeft();
  return left === null ? "–" : left > 0 ? clock(left) : "due";
}

function showCeremony(data) {
  const ceremony = record(data.ceremony);
  const steps = list(ceremony.steps).map(record);
  if (!steps.length) {
    put("ceremony-line", "No session since this node was started.");
    put("steps");
    return;
  }
  const good = ceremony.phase === "certified";
  const rotation = ceremony.kind === "rotation";
  put(
    "ceremony-line",
    tag(good ? "good" : ceremony.phase === "void" ? "bad" : "warn", ceremony.phase),
    ` ${rotation ? "Rotation" : "Genesis"} at block ${text(ceremony.block)}, session ${short(ceremony.session, 8)}, view ${text(ceremony.view)}` +
      (rotation ? `, dealt from version ${text(ceremony.source)}` : "") + `; ${text(ceremony.threshold)} of ${text(ceremony.operators)} operators make a key.`,
  );
  put("steps", ...steps.map((step) => {
    const missing = list(step.missing);
    const names = missing.slice(0, 4).map((name) => short(name, 10)).join(", ") + (missing.length > 4 ? ` and ${missing.length - 4} more` : "");
    const wanted = step.state === "current" && missing.length > 0;
    return make(
      "li", { "data-step": text(step.name), "data-state": text(step.state), "aria-current": step.state === "current" ? "step" : null },
      span("name", STEP_NAMES[step.name] ?? step.name),
      span("count", `${text(step.done)} of ${text(step.of)}, ${text(step.needed)} needed`),
      wanted ? span("missing", `missing: ${names}`) : null,
    );
  }));
}

function memberState(member) {
  const tags = [];
  if (member.me) tags.push(tag("good", "this node"));
  else if (member.proven) tags.push(tag("good", "connected"));
  else if (member.connected) tags.push(tag("warn", "not proven"));
  else tags.push(tag(member.former ? "calm" : "bad", "not connected"));
  if (member.former) tags.push(" ", tag("calm", "left the set"));
  if (member.evidence) tags.push(" ", tag("bad", `evidence: ${text(member.evidence)}`));
  return tags;
}

function showMembers(data) {
  const labels = ["Operator", "State", "Latency", "Last answer", "Peer, address"];
  rows("members", labels, list(data.members).map(record).map((member) => {
    const told = list(member.addresses).length ? list(member.addresses) : [member.socket];
    const addresses = told.map((address) => text(address).replace(`/p2p/${text(member.peer)}`, ""));
    return [
      span("mono", member.operator),
      memberState(member),
      isNumber(member.latency_ms) ? `${member.latency_ms < 10 ? member.latency_ms.toFixed(1) : Math.round(member.latency_ms)} ms` : "–",
      isNumber(member.seen_seconds) ? `${duration(member.seen_seconds)} ago` : "–",
      [span("mono line", member.peer), ...addresses.map((address) => span("mono soft line", address))],
    ];
  }));
}

function showVersions(data) {
  const labels = ["Version", "Share", "Signers", "Served", "Boundary", "Transcript"];
  rows("versions", labels, list(data.versions).map(record).map((version) => [
    [span("line", version.version), span("soft line", moment(version.version))],
    version.share ? tag("good", "held") : tag("warn", "none"),
    `${text(version.signers)} of ${text(version.operators)}, ${text(version.threshold)} needed`,
    isNumber(version.served) ? `${version.served} of ${text(version.operators)}` : "–",
    text(version.block),
    span("mono", short(version.transcript, 16)),
  ]));
}

function showChain(data) {
  const chain = record(data.chain);
  pairs("chain", [
    ["Chain id", text(chain.id)],
    ["AVS", span("mono", chain.avs)],
    ["Operator set", text(chain.operator_set)],
    ["Boundaries", `every ${text(chain.interval_blocks)} blocks of about ${text(chain.block_seconds)} s, ${text(chain.finality)}`],
    ["Last boundary", isNumber(data.boundary) ? `block ${data.boundary}` : "none since the start"],
    ...(isNumber(data.anchored) || data.anchor_error ? [["Anchored", data.anchor_error ? [tag("warn", "failing"), ` ${text(data.anchor_error)}`] : `version ${text(data.anchored)}`]] : []),
    ["Trouble", data.chain_error ? [tag("bad", "failing"), ` ${text(data.chain_error)}`] : "none"],
  ]);
  put("providers", ...list(data.rpc).map(record).map((provider) => make(
    "li", {}, tag(provider.state === "ok" ? "good" : "bad", provider.state), " ", span("mono", provider.endpoint),
    provider.in_use ? " " : null, provider.in_use ? tag("calm", "in use") : null,
    isNumber(provider.latency_ms) ? span("soft", ` ${Math.round(provider.latency_ms)} ms`) : null,
    provider.last_error ? span("soft line", provider.last_error) : null,
  )));
}

function showCanary(data) {
  const canary = record(data.canary);
  if (typeof canary.ok !== "boolean") {
    pairs("canary", [["Result", "none: it has not run yet, or is off"]]);
    return;
  }
  pairs("canary", [
    ["Result", canary.ok ? tag("good", "works") : tag("bad", "fails")],
    ["When", moment(canary.at)],
    ["Took", isNumber(canary.seconds) ? `${canary.seconds.toFixed(2)} s` : "–"],
    ["Answered", isNumber(canary.asked) ? `${text(canary.answered)} of ${canary.asked}` : text(canary.answered)],
    ["Silent", list(canary.silent).length ? list(canary.silent).map((name) => span("mono line", name)) : "none"],
    ["Wrong", list(canary.false).length ? list(canary.false).map((name) => span("mono line", name)) : "none"],
    ...(canary.ok ? [] : [["Reason", text(canary.reason)]]),
  ]);
}

function showEvidence(data) {
  const accused = list(data.accused);
  pairs("evidence", [
    ["Pieces held", text(data.evidence)],
    ["Against", accused.length ? accused.map((name) => span("mono line", name)) : "nobody"],
  ]);
}

function showNode(data) {
  const me = list(data.members).map(record).find((member) => member.me);
  pairs("node", [
    ["Operator", span("mono", data.operator)],
    ["Peer", span("mono", record(me).peer)],
    ["Cluster", span("mono", data.cluster)],
    ["Master key", span("mono", data.mpk)],
    ["Policy", text(data.policy)],
    ["Release log", [`${text(data.released)} entries, head `, span("mono", short(data.release_head, 16))]],
    ["Software", `eigenkms ${text(data.software)}`],
    ["Up for", duration(data.uptime_seconds)],
  ]);
  put("software", text(data.software));
}

function showWarnings(data) {
  const warnings = list(data.warnings).map(record);
  const shown = warnings.map((warning) => make(
    "li", {}, tag(warning.level === "warning" ? "warn" : "bad", warning.level), " ",
    span("soft", moment(warning.time) + (warning.count > 1 ? `, ${warning.count} times` : "")), span("line", warning.message),
  ));
  put("warnings", ...(shown.length ? shown : [make("li", { class: "soft" }, "none since the start")]));
}

function showAge() {
  const place = document.getElementById("age");
  if (state.answeredAt === null) {
    place.classList.toggle("late", state.failures > 0);
    put("age", state.failures ? "never answered" : "asking the node…");
    return;
  }
  const age = (performance.now() - state.receivedAt) / 1000;
  place.classList.toggle("late", state.failures > 0);
  put("age", `data ${duration(age)} old`);
  const value = document.querySelector("#tile-next .value");
  if (value !== null) morph(value, [document.createTextNode(countdown())]);
}

function show(data) {
  for (const part of [showTiles, showCeremony, showMembers, showVersions, showChain, showCanary, showEvidence, showNode, showWarnings]) part(data);
}

// ----- asking

async function ask() {
  const answer = await fetch("status.json", { cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw new Error(`it answered with HTTP status ${answer.status}`);
  const data = await answer.json();
  if (data === null || typeof data !== "object" || Array.isArray(data)) throw new Error("its answer is not a status");
  return data;
}

function reasonOf(error) {
  if (error.name === "TimeoutError") return `it did not answer within ${PATIENCE_MS / 1000} s`;
  if (error instanceof TypeError) return "it cannot be reached";
  return error instanceof SyntaxError ? "its answer is not JSON" : text(error.message);
}

async function turn() {
  if (state.asking) return;
  state.asking = true;
  let data = null;
  try {
    data = await ask();
  } catch (error) {
    state.failures += 1;
    state.reason = reasonOf(error);
  } finally {
    state.asking = false;
  }
  if (data !== null) {
    Object.assign(state, { data, receivedAt: performance.now(), answeredAt: Date.now(), failures: 0 });
  }
  const pause = document.hidden ? HIDDEN_POLL_MS : POLL_MS;
  clearTimeout(state.timer);
  state.timer = setTimeout(turn, Math.min(MAX_POLL_MS, pause * 2 ** Math.min(Math.max(0, state.failures - 1), 4)));
  if (data !== null) show(data);
  showVerdict();
  showAge();
}

for (const table of document.querySelectorAll("table")) {
  table.setAttribute("role", "table");
  table.querySelectorAll("thead, tbody").forEach((group) => group.setAttribute("role", "rowgroup"));
  table.querySelectorAll("thead tr").forEach((row) => row.setAttribute("role", "row"));
  table.querySelectorAll("thead th").forEach((head) => head.setAttribute("role", "columnheader"));
}
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) turn();
});
setInterval(showAge, 1000);
turn();
