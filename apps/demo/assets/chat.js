// The chat: one WebSocket, opened again with growing patience when it closes.
const list = document.querySelector("#messages");
const state = document.querySelector("#state");
const form = document.querySelector("#say");
const seen = new Set();
let socket;
let patience = 250; // milliseconds

open();
form?.addEventListener("submit", (event) => {
  event.preventDefault();
  if (socket.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify({ text: form.elements.text.value }));
  form.reset();
});

function open() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/chat/socket`);
  socket.addEventListener("open", () => {
    patience = 250;
    show("live", true);
  });
  socket.addEventListener("message", (event) => add(JSON.parse(event.data)));
  socket.addEventListener("close", () => {
    show("reconnecting…", false);
    setTimeout(open, patience);
    patience = Math.min(patience * 2, 5000);
  });
}

function add({ id, author, text, problem }) {
  if (problem) return show(problem, true);
  if (seen.has(id)) return;
  seen.add(id);
  const item = document.createElement("li");
  const name = document.createElement("b");
  name.textContent = author;
  item.append(name, text);
  list.append(item);
  list.scrollTop = list.scrollHeight;
}

function show(text, on) {
  state.textContent = text;
  state.parentElement.classList.toggle("on", on);
}
