// The page's end of the worker: it is told, it is asked, and it tells.

export class Thread {
  /** `listen` has a function for everything that the worker tells by itself. */
  constructor(listen) {
    this.asked = new Map();
    this.number = 0;
    this.worker = new Worker("/dashboard/worker.js", { type: "module" });
    this.worker.addEventListener("message", ({ data: [name, ...told] }) => (name === "answer" ? this.#answered(...told) : listen[name](...told)));
  }

  tell(name, ...given) {
    this.worker.postMessage([0, name, ...given]);
  }

  /** The canvases are the worker's from now on. */
  begin(canvases, ...given) {
    const handed = Object.fromEntries(Object.entries(canvases).map(([name, canvas]) => [name, canvas.transferControlToOffscreen()]));
    this.worker.postMessage([0, "begin", handed, ...given], Object.values(handed));
  }

  ask(name, ...given) {
    const id = ++this.number;
    this.worker.postMessage([id, name, ...given]);
    return new Promise((answered) => this.asked.set(id, answered));
  }

  #answered(id, answer) {
    const answered = this.asked.get(id);
    this.asked.delete(id);
    answered(answer);
  }
}
