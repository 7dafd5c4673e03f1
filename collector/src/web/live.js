// Fetches the page again while it is looked at, and puts what is new in place of what was there: what is open stays open, and
// nobody loses their place. Without this script the page is the same, of when it was asked for.
"use strict";

const EVERY = 3000;
const page = document.getElementById("page");
const live = document.getElementById("live");

// A status is read aloud when it changes, so it changes only when there is something to say.
function say(words) {
  if (live.textContent !== words) live.textContent = words;
}

// Which of those that look the same this is: rows come and go, and whoever stands on one stays on it.
function name(element) {
  return `${element.tagName} ${element.getAttribute("href") ?? element.textContent}`;
}

function focusable(like) {
  return [...page.querySelectorAll("a, summary, [tabindex]")].filter((it) => name(it) === like);
}

// What a part is called, with the section that it is in: sections come and go.
function called(part) {
  const section = part.closest("section")?.querySelector("h2")?.textContent ?? "";
  return `${section} ${part.querySelector("summary, caption, title")?.textContent ?? ""}`;
}

function put(next) {
  const of = (parts, value) => new Map([...page.querySelectorAll(parts)].map((it) => [called(it), value(it)]));
  const opened = of("details", (it) => it.open);
  const scrolled = of(".scroll", (it) => it.scrollLeft);
  const focused = page.contains(document.activeElement) ? name(document.activeElement) : null;
  const place = focused === null ? -1 : focusable(focused).indexOf(document.activeElement);
  const [x, y] = [scrollX, scrollY];
  page.replaceChildren(...next.childNodes);
  page.dataset.tag = next.dataset.tag;
  page.querySelectorAll("details").forEach((it) => {
    if (opened.has(called(it))) it.open = opened.get(called(it));
  });
  page.querySelectorAll(".scroll").forEach((it) => {
    it.scrollLeft = scrolled.get(called(it)) ?? 0;
  });
  if (place >= 0) focusable(focused)[place]?.focus({ preventScroll: true });
  scrollTo({ left: x, top: y, behavior: "instant" });
}

// Whoever marks text to copy it keeps it.
function isMarking() {
  const marked = getSelection();
  return !marked.isCollapsed && page.contains(marked.anchorNode);
}

async function look() {
  if (document.hidden || isMarking()) return;
  try {
    const answer = await fetch(location.pathname + location.search, {
      cache: "no-store",
      headers: { "If-None-Match": page.dataset.tag },
      signal: AbortSignal.timeout(60000),
    });
    if (answer.status === 200) {
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      const found = next.getElementById("page");
      if (!found) throw new Error("that is another page");
      put(document.importNode(found, true));
    } else if (answer.status !== 304) {
      say(`not live: the collector answers ${answer.status}`);
      return;
    }
    say("live");
  } catch {
    say("not live: cannot reach the collector");
  }
}

async function keepLooking() {
  await look();
  setTimeout(keepLooking, EVERY);
}

// Fields that were left empty say nothing, and need not stand in an address that is shared.
document.querySelector("form")?.addEventListener("formdata", ({ formData }) => {
  const said = [...formData].filter(([, value]) => value !== "");
  for (const name of [...formData.keys()]) formData.delete(name);
  for (const [name, value] of said) formData.append(name, value);
});

if (page && live) keepLooking();
