// The live board: notices put up or taken down anywhere appear here at once.
const board = document.querySelector("#notices");
const state = document.querySelector("#live");
const account = board.dataset.account;

const mark = (notice) => notice.classList.toggle("mine", account !== "" && notice.dataset.author === account);
board.querySelectorAll(".notice").forEach(mark);

const feed = new EventSource(`/live?since=${board.dataset.since}`);
feed.addEventListener("open", () => show("live", true));
feed.addEventListener("error", () => show("reconnecting…", false));
feed.addEventListener("notice", (event) => {
  const { id, html } = JSON.parse(event.data);
  if (document.getElementById(`notice-${id}`)) return;
  board.insertAdjacentHTML("afterbegin", html);
  const notice = board.firstElementChild;
  notice.classList.add("fresh");
  mark(notice);
});
feed.addEventListener("notice-removed", (event) =>
  document.getElementById(`notice-${JSON.parse(event.data).id}`)?.remove(),
);

function show(text, on) {
  state.textContent = text;
  state.parentElement.classList.toggle("on", on);
}
