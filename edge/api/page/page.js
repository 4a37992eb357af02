// The device's own page. Whatever comes from models, tools and people is set as text, never as markup.
"use strict";

const LOOK_EVERY_MS = 2000;
const LOOK_WHEN_AWAY_MS = 5000;
const TASK_EVERY_MS = 1500;
const LATER_SHOWN = 10;
const SIGNED_OUT = 401;
const at = (id) => document.getElementById(id);
const cards = new Map();
let isInside = false;
let timer = 0;

class Refused extends Error {
  constructor(message, status, problem) {
    super(message);
    this.status = status;
    this.problem = problem;
  }
}

async function call(method, path, body) {
  const headers = { "x-covey-page": "1" };
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
  } catch {
    throw new Refused("This device does not answer; it may be restarting.", 0, {});
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  let problem = {};
  try {
    problem = (await response.json()).error ?? {};
  } catch {
    // what is no JSON has no sentence to show
  }
  return new Refused(problem.message ?? `The device answered with status ${response.status}.`, response.status, problem);
}

function element(tag, text, name) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (name) made.className = name;
  return made;
}

function tell(message) {
  const problem = at("problem");
  problem.textContent = message;
  problem.hidden = !message;
}

// --- in and out

function show(inside) {
  const changed = inside !== isInside;
  isInside = inside;
  at("sign-in").hidden = inside;
  at("inside").hidden = !inside;
  at("sign-out").hidden = !inside;
  if (!inside) {
    at("state").textContent = "signed out";
    at("state").className = "chip";
    if (changed || document.activeElement === document.body) at("token").focus();
  } else if (changed) {
    at("main").focus();
  }
}

async function signIn(event) {
  event.preventDefault();
  try {
    await call("POST", "/page/session", { token: at("token").value.trim() });
    at("token").value = "";
    tell("");
    await look();
  } catch (error) {
    tell(error.message);
  }
}

async function signOut() {
  await call("DELETE", "/page/session").catch((error) => tell(error.message));
  at("talk").replaceChildren();
  show(false);
}

// --- what the device is doing

async function look() {
  clearTimeout(timer);
  let wait = LOOK_EVERY_MS;
  try {
    const [status, waiting, asked] = await Promise.all([
      call("GET", "/status").then((answer) => answer.json()),
      call("GET", "/approvals").then((answer) => answer.json()),
      call("GET", "/questions").then((answer) => answer.json()),
    ]);
    show(true);
    if (at("problem").dataset.from === "look") tell("");
    showStatus(status);
    showApprovals(waiting.approvals.filter((each) => !each.over));
    showLater(asked.questions.filter((each) => each.later).slice(0, LATER_SHOWN));
  } catch (error) {
    if (error.status === SIGNED_OUT) {
      show(false);
    } else {
      wait = LOOK_WHEN_AWAY_MS;
      tell(error.message);
      at("problem").dataset.from = "look";
      setState("no answer", "bad");
    }
  }
  if (document.visibilityState === "visible" && isInside) timer = setTimeout(look, wait);
}

function setState(text, kind) {
  const state = at("state");
  if (state.textContent !== text) state.textContent = text;
  state.className = `chip ${kind}`;
}

function showStatus(status) {
  const rules = status.policy ?? {};
  const stopped = rules.stopped_by ?? [];
  const name = status.device ?? "This device (not enrolled)";
  at("device").textContent = name;
  document.title = stopped.length ? `Stopped: ${name}` : name;
  if (stopped.length) setState(`stopped by ${stopped.join(", ")}`, "bad");
  else if (rules.waiting) setState("waits for people", "warn");
  else if (status.tasks?.current) setState("at work", "good");
  else if (status.issues?.length) setState("needs a look", "warn");
  else setState("idle", "good");
  at("stop").hidden = stopped.length > 0;
  at("resume").hidden = !stopped.includes("local") && !stopped.includes("button");
  replaceTexts(at("issues"), (status.issues ?? []).map((issue) => `${issue.part}: ${issue.message}`));
  const facts = [
    ["Now", status.tasks?.current ? `works on task ${status.tasks.current}` : status.tasks?.open ? "waits" : "nothing to do"],
    ["Open tasks", String(status.tasks?.open ?? 0)],
    ["Link", [status.link?.state, status.link?.detail].filter(Boolean).join(": ")],
    ["To send", `${status.journal?.waiting ?? 0} records`],
    ["Rules", rules.mode === "rules" ? `${rules.package}, version ${rules.version}` : `only reading. ${rules.why ?? ""}`],
    ...(rules.mode === "rules" && rules.lease_ends_at ? [["Without the hub", `they hold until ${new Date(rules.lease_ends_at).toLocaleString()}`]] : []),
    ["Model", `${status.model?.name ?? "none"}${status.model?.loaded ? "" : " (not loaded)"}`],
    ["Version", status.version ?? ""],
  ];
  const list = at("facts");
  const shown = JSON.stringify(facts);
  if (list.dataset.shown !== shown) {
    list.dataset.shown = shown;
    list.replaceChildren(...facts.flatMap(([title, text]) => [element("dt", title), element("dd", text)]));
  }
}

function replaceTexts(list, texts) {
  const shown = JSON.stringify(texts);
  if (list.dataset.shown === shown) return;
  list.dataset.shown = shown;
  list.replaceChildren(...texts.map((text) => element("li", text)));
}

// --- answers of the hub that came after their task had ended

function showLater(answers) {
  const list = at("later");
  const shown = JSON.stringify(answers);
  at("later-block").hidden = answers.length === 0;
  if (list.dataset.shown === shown) return;
  list.dataset.shown = shown;
  list.replaceChildren(...answers.map(laterCard));
}

function laterCard(each) {
  const box = element("li", undefined, "card");
  box.append(element("h3", each.goal ?? `Task ${each.task}`), element("p", each.later.text, "later"));
  box.append(element("p", new Date(each.later.at).toLocaleString(), "help"));
  return box;
}

// --- what waits for people

function showApprovals(waiting) {
  const here = new Set(waiting.map((each) => each.nonce));
  for (const [nonce, card] of cards) {
    if (!here.has(nonce)) {
      const hadFocus = card.box.contains(document.activeElement);
      card.box.remove();
      cards.delete(nonce);
      if (hadFocus) at("main").focus();
    }
  }
  for (const each of waiting) {
    let card = cards.get(each.nonce);
    if (!card || card.missing !== each.missing.join()) {
      const old = card;
      card = makeCard(each);
      if (old) {
        const hadFocus = old.box.contains(document.activeElement);
        old.box.replaceWith(card.box);
        if (hadFocus) (card.box.querySelector("button") ?? at("main")).focus();
      } else {
        at("approvals").append(card.box);
      }
      cards.set(each.nonce, card);
      if (!old) at("news").textContent = `${each.tool} waits for ${each.missing.join(", ")}.`;
    }
    card.left.textContent = `${duration(each.left_s)} left, then it is a no.`;
  }
  at("approvals-none").hidden = waiting.length > 0;
  at("who-block").hidden = !waiting.some((each) => each.local);
}

function makeCard(each) {
  const box = element("li", undefined, "card");
  const title = element("h3", each.tool);
  title.id = `tool-${each.nonce}`;
  const left = element("p");
  box.append(title, element("pre", JSON.stringify(each.arguments, null, 2)), element("p", `Rule ${each.rule}, task ${each.task}`), left);
  if (each.local) {
    for (const role of each.missing) {
      const row = element("div", undefined, "row");
      row.append(voteButton(each, role, true), voteButton(each, role, false));
      box.append(row);
    }
  } else {
    box.append(element("p", `Only people at the hub may agree: ${each.missing.join(", ")}.`));
  }
  return { box, left, missing: each.missing.join() };
}

function voteButton(each, role, granted) {
  const button = element("button", `${granted ? "Yes" : "No"}, as ${role}`, granted ? "" : "quiet");
  button.type = "button";
  button.setAttribute("aria-describedby", `tool-${each.nonce}`);
  button.addEventListener("click", () => vote(each, role, granted, button));
  return button;
}

async function vote(each, role, granted, button) {
  const who = at("who");
  if (!who.value.trim()) {
    tell("Say who you are first: it is written down with your word.");
    who.focus();
    return;
  }
  if (!who.reportValidity()) return;
  button.disabled = true;
  try {
    await call("POST", `/approvals/${encodeURIComponent(each.nonce)}`, { granted, role, by: who.value.trim() });
    tell("");
    at("news").textContent = granted ? `You said yes to ${each.tool}.` : `You said no to ${each.tool}.`;
  } catch (error) {
    tell(error.message);
    button.disabled = false;
  }
  await look();
}

function duration(seconds) {
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

// --- stop and go on

async function setStopped(stopped) {
  try {
    await call("POST", "/stop", { stopped });
    tell("");
  } catch (error) {
    tell(error.message);
  }
  await look();
}

// --- asking

async function ask(event) {
  event.preventDefault();
  const question = at("question").value.trim();
  if (!question) return;
  at("question").value = "";
  at("talk").append(element("li", question, "asked"));
  const answer = element("li", "…", "answer");
  answer.setAttribute("aria-busy", "true");
  at("talk").append(answer);
  at("ask").disabled = true;
  let problem;
  try {
    await stream(question, answer);
  } catch (error) {
    problem = error;
  }
  at("ask").disabled = false;
  if (problem) await afterwards(problem, answer);
  answer.removeAttribute("aria-busy");
}

async function stream(question, answer) {
  const user = at("who").value.trim();
  const body = { model: "covey", stream: true, messages: [{ role: "user", content: question }], ...(user ? { user } : {}) };
  const response = await call("POST", "/v1/chat/completions", body);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let said = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new Refused(event.error.message, 0, event.error);
      said += event.choices?.[0]?.delta?.content ?? "";
      answer.textContent = said || "…";
    }
  }
  answer.textContent = said;
}

// A task that waits for people goes on when they have spoken: its answer comes here all the same.
async function afterwards(error, answer) {
  answer.className = "failed";
  answer.textContent = error.message;
  answer.removeAttribute("aria-busy");
  const task = error.problem?.task;
  if (error.status === SIGNED_OUT) await look();
  if (!task) return;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, TASK_EVERY_MS));
    if (!isInside) return;
    let view;
    try {
      view = await (await call("GET", `/tasks/${encodeURIComponent(task)}`)).json();
    } catch (problem) {
      if (problem.status === 0) continue;
      return;
    }
    if (["queued", "offered", "running", "waiting"].includes(view.state)) continue;
    answer.className = view.state === "succeeded" ? "answer" : "failed";
    answer.textContent = view.result ?? `The task ended as ${view.state} (${view.reason}).`;
    return;
  }
}

at("sign-in-form").addEventListener("submit", signIn);
at("sign-out").addEventListener("click", signOut);
at("ask-form").addEventListener("submit", ask);
at("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    at("ask-form").requestSubmit();
  }
});
at("stop").addEventListener("click", () => at("sure").showModal());
at("sure-no").addEventListener("click", () => at("sure").close());
at("sure-yes").addEventListener("click", () => {
  at("sure").close();
  setStopped(true);
});
at("resume").addEventListener("click", () => setStopped(false));
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible" && isInside) look();
});
look();
