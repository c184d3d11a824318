// The page's side of the worker: questions with answers, and what happens when the thread is lost.

const SILENCE = 30_000; // milliseconds without a word from a thread that has work to do

export class Engine {
  /** makeWorker() starts a thread; onLost(sentence) hears of one that ended. */
  constructor(makeWorker, onLost) {
    this.makeWorker = makeWorker;
    this.onLost = onLost;
    this.open = new Map(); // id -> {resolve, reject, tell}
    this.last = 0;
    this.start();
  }

  start() {
    this.worker?.terminate();
    this.lost = false;
    this.worker = this.makeWorker();
    this.worker.onmessage = ({ data }) => this.hear(data);
    this.worker.onerror = (event) => {
      event.preventDefault?.();
      this.lose(`The engine's thread ended${event.message ? ` (${event.message})` : ""}.`);
    };
  }

  /** Ask; tell(message) hears what comes before the answer. */
  ask(op, content = {}, tell = null) {
    const id = ++this.last;
    const answer = new Promise((resolve, reject) => this.open.set(id, { resolve, reject, tell }));
    answer.id = id;
    if (this.lost) this.hear({ id, error: "The engine is not running." });
    else this.worker.postMessage({ ...content, id, op });
    this.watch();
    return answer;
  }

  /** Ask a drawing to end; its answer will be null. */
  stop(id) {
    if (this.open.has(id)) this.worker.postMessage({ op: "stop", drawing: id });
  }

  hear({ id, result, error, ...more }) {
    const asked = this.open.get(id);
    this.watch();
    if (!asked) return;
    if (error !== undefined) asked.reject(new Error(error));
    else if (result !== undefined) asked.resolve(result);
    else return void asked.tell?.(more);
    this.open.delete(id);
    this.watch();
  }

  /** A thread that the browser has ended for lack of memory says nothing at all. */
  watch() {
    clearTimeout(this.timer);
    if (!this.open.size) return;
    this.timer = setTimeout(() => this.lose(
      "The engine has not answered for 30 seconds; the browser may have ended it."), SILENCE);
  }

  lose(sentence) {
    this.lost = true;
    this.worker.terminate();
    clearTimeout(this.timer);
    const asked = [...this.open.values()];
    this.open.clear();
    asked.forEach(({ reject }) => reject(new Error(sentence)));
    this.onLost(sentence);
  }
}
