/* Keyboard, live refresh, log following. Reading works without any of it.
   The stream says only that something changed; htmx then fetches this page's own fragment and
   morphs it in, which keeps focus, scroll and open details. */
"use strict";
(() => {
  const page = () => document.getElementById("page");
  const live = document.getElementById("live");
  const POLL_MS = 5000, GAP_MS = 700;

  // --- live ---------------------------------------------------------------------------------
  let last = 0, pending = 0, streaming = false;
  const refresh = () => {
    const main = page();
    if (!window.htmx || !main || !main.hasAttribute("hx-get") || document.hidden) return;
    const wait = Math.max(0, last + GAP_MS - Date.now());
    if (pending) return;
    pending = setTimeout(() => {
      pending = 0;
      last = Date.now();
      window.htmx.trigger(page(), "refresh");
      follow();
    }, wait);
  };
  const say = (state, word) => {
    if (!live || live.dataset.state === state) return;
    live.dataset.state = state;
    live.querySelector(".live-word").textContent = word;
  };
  if (live && window.EventSource) {
    // A hidden page gives its connection back: browsers allow six per server, over all tabs.
    let source = null;
    const connect = () => {
      if (document.hidden || (source && source.readyState !== EventSource.CLOSED)) return;
      source = new EventSource("/events");
      source.addEventListener("open", () => { streaming = true; say("on", "live"); });
      source.addEventListener("changed", refresh);
      source.addEventListener("error", () => {
        streaming = false;
        say("off", "not live, trying again");
        if (source.readyState === EventSource.CLOSED) setTimeout(connect, POLL_MS);
      });
    };
    connect();
    addEventListener("pagehide", () => source?.close());
    addEventListener("pageshow", connect);
    setInterval(() => { if (Date.now() - last > (streaming ? 3 : 1) * POLL_MS - 50) refresh(); }, POLL_MS);
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) { source?.close(); streaming = false; }
      else { connect(); refresh(); }
    });
  }
  document.addEventListener("htmx:after:request", (event) => {
    const status = event.detail?.ctx?.response?.status;
    if (status === 401) location.assign("/login?next=" + encodeURIComponent(location.pathname));
    else if (status >= 500) say("off", "the server has a problem");
    else if (streaming) say("on", "live");
  });

  // --- acts: the question opens in a dialog; without this it is a page of its own -----------------
  const ask = document.getElementById("ask");
  let asked = "";
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-ask]");
    if (link) asked = link.getAttribute("href");
  });
  document.addEventListener("htmx:after:swap", (event) => {
    // The dialog itself is the source where a refresh replaced the link meanwhile.
    const source = event.detail?.ctx?.sourceElement;
    const answered = source === ask || source?.matches?.("a[data-ask]");
    if (answered && ask?.querySelector("form") && !ask.open) ask.showModal();
  });
  ask?.addEventListener("close", () => {
    // The browser says this a little later: the next question may have been asked by then.
    if (ask.open) return;
    ask.replaceChildren();
    // A refresh may have put another element in the link's place meanwhile.
    document.querySelector(`a[data-ask][href="${CSS.escape(asked)}"]`)?.focus();
  });

  // --- logs ---------------------------------------------------------------------------------
  const LOG_CHARS_MAX = 400000;
  let reading = false;
  const atEnd = (box) => box.scrollTop + box.clientHeight >= box.scrollHeight - 40;
  async function follow() {
    const box = document.querySelector("pre.log[data-raw]");
    const wanted = document.getElementById("follow");
    if (!box || !wanted || !wanted.checked || reading || document.hidden) return;
    reading = true;
    try {
      const answer = await fetch(`${box.dataset.raw}&offset=${box.dataset.next}`);
      if (!answer.ok) return;
      const text = await answer.text();
      box.dataset.next = answer.headers.get("X-Next-Offset") || box.dataset.next;
      if (!text) return;
      const stick = atEnd(box);
      box.append(text);
      if (box.textContent.length > LOG_CHARS_MAX) box.textContent = box.textContent.slice(-LOG_CHARS_MAX / 2);
      if (stick) box.scrollTop = box.scrollHeight;
    } catch { /* the next beat tries again; the header says when the server is gone */ }
    finally { reading = false; }
  }
  const box = document.querySelector("pre.log[data-raw]");
  if (box) { box.scrollTop = box.scrollHeight; setInterval(follow, 2000); }

  // --- colours ------------------------------------------------------------------------------
  const theme = document.getElementById("theme");
  const words = { "": "Auto", dark: "Dark", light: "Light" };
  const tell = () => {
    const now = document.documentElement.dataset.theme || "";
    theme.textContent = words[now];
    theme.setAttribute("aria-label", words[now] + " colours" + (now ? "" : ", as the system"));
  };
  if (theme) {
    tell();
    theme.addEventListener("click", () => {
      const order = ["", "dark", "light"];
      const next = order[(order.indexOf(document.documentElement.dataset.theme || "") + 1) % 3];
      if (next) document.documentElement.dataset.theme = next;
      else delete document.documentElement.dataset.theme;
      try { localStorage.setItem("causeway-theme", next); } catch { /* kept for this page only */ }
      tell();
    });
  }

  // --- times: the reader's own zone on hover --------------------------------------------------
  const absolute = (event) => {
    const tag = event.target.closest?.("time[datetime]");
    if (!tag) return;
    const local = new Date(tag.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
    const utc = tag.dateTime.replace("T", " ").replace(/\.\d+Z$/, " UTC");
    tag.title = `${local}\n${utc}`;
  };
  document.addEventListener("pointerover", absolute);

  // --- keyboard -----------------------------------------------------------------------------
  const help = document.getElementById("help");
  document.getElementById("keys")?.addEventListener("click", () => help.showModal());
  const rows = () => [...document.querySelectorAll("[data-row]")].filter((r) => r.offsetParent);
  const step = (by) => {
    const all = rows();
    if (!all.length) return;
    const now = all.findIndex((r) => r.contains(document.activeElement));
    const next = all[Math.min(all.length - 1, Math.max(0, now < 0 ? (by > 0 ? 0 : all.length - 1) : now + by))];
    const link = next.querySelector(".row-link, a, button") || next;
    link.focus();
    next.scrollIntoView({ block: "nearest" });
  };
  let going = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches?.("input:not([type=checkbox]), textarea, select");
    if (event.key === "Escape" && typing) { event.target.blur(); return; }
    if (typing || help?.open || ask?.open) return;
    if (going && Date.now() - going < 1500) {
      going = 0;
      const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); location.assign(link.href); return; }
    }
    if (event.key === "g") going = Date.now();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "?" && help && live) { event.preventDefault(); help.showModal(); }
    else if (event.key === "/") {
      event.preventDefault();
      const filter = document.querySelector("[data-filter]");
      if (filter) { filter.focus(); filter.select(); }
      else location.assign("/offers");
    }
  });

  // --- login: a token after '#' never reaches a server log -------------------------------------
  const form = document.getElementById("login");
  const fromAddress = () => {
    if (!form || location.hash.length < 2) return;
    form.elements.token.value = decodeURIComponent(location.hash.slice(1));
    history.replaceState(null, "", location.pathname + location.search);
    // Filled in but not sent: whose token it is remains the reader's decision.
    form.querySelector("button").focus();
  };
  fromAddress();
  addEventListener("hashchange", fromAddress);
})();
